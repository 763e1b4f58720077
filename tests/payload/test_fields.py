"""Which fields a body has, and what stays as it was where some are changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.payload.fields import FieldReader, changed
from igw.request import Head

READER = FieldReader(["model", "user-id"])


def head(content_type: str = "application/json") -> Head:
    """Return the head of a request with a body."""
    return Head("/v1/chat/completions", "POST", {"content-type": content_type} if content_type else {})


def form(**fields: str) -> tuple[str, bytes]:
    """Return content type and body of a form with *fields* and a file called `model.bin`."""
    parts = [
        f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = '--b\r\ncontent-disposition: form-data; name="file"; filename="model.bin"\r\n\r\n\x00model\r\n--b--\r\n'
    return "multipart/form-data; boundary=b", ("".join(parts) + file).encode()


def test_fields_come_as_they_were_written() -> None:
    """Whatever their type; others, and those inside of others, are not there."""
    body = b'{"x": {"model": "inner"}, "model" : "a\\u0062", "user-id":12345678901234567890, "y": [1]}'
    assert READER.read(head(), body) == {"model": b'"a\\u0062"', "user-id": b"12345678901234567890"}


def test_of_a_key_that_is_written_twice_the_last_one_counts() -> None:
    """As for the picker and the engines: a request must not be routed by one model and served by another."""
    assert READER.read(head(), b'{"model":"a","model":"b"}') == {"model": b'"b"'}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"model"', b'{"model":"\xff', b"[" * 200_000])
@pytest.mark.parametrize("content_type", ["application/json", "", "application/x-www-form-urlencoded"])
def test_what_says_that_it_is_json_must_be_an_object(body: bytes, content_type: str) -> None:
    """400, with the reason."""
    with pytest.raises(BadRequest, match="not a JSON object"):
        READER.read(head(content_type), body)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "audio/wav", "application/grpc"])
def test_other_bodies_say_nothing(content_type: str) -> None:
    """They pass without a name."""
    assert READER.read(head(content_type), b"\x00\x01") == {}


def test_json_under_another_name_is_read_but_not_grpc() -> None:
    """A client that does not know its content type is served; a gRPC message may look like anything."""
    assert READER.read(head("application/octet-stream"), b'{"model":"a"}') == {"model": b'"a"'}
    assert READER.read(head("application/grpc+json"), b'{"model":"a"}') == {}


def test_fields_of_a_form_are_read_and_its_files_are_not() -> None:
    """Transcriptions and edits of images name their model in a part of its own."""
    content_type, body = form(model='whisper "1"', prompt="model")
    assert READER.read(head(content_type), body) == {"model": b'"whisper \\"1\\""'}


def test_a_broken_form_is_refused() -> None:
    """As the picker does."""
    content_type, body = form(model="m")
    with pytest.raises(BadRequest):
        READER.read(head(content_type), body[:-9])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=6), st.sampled_from(["model", "user-id"]), VALUES)
def test_a_changed_body_says_the_same_but_for_the_change(body: dict[str, Any], name: str, value: Any) -> None:
    """Setting and removing; and what is read from it is what was written."""
    written = json.dumps(body, indent=2).encode()
    text = json.dumps(value).encode()
    assert json.loads(changed(written, {name: text})) == {**body, name: value}
    assert READER.read(head(), changed(written, {name: text}))[name] == text
    assert json.loads(changed(written, {name: None})) == {k: v for k, v in body.items() if k != name}


def test_numbers_and_order_survive_a_change() -> None:
    """Nothing goes through a float."""
    body = b'{"b": 12345678901234567890.10, "model": "x", "a": 1e400}'
    assert changed(body, {"model": b'"y"'}) == b'{"b":12345678901234567890.10,"model":"y","a":1e400}'


def test_only_an_object_can_be_changed() -> None:
    """A plugin that tries is answered 400."""
    with pytest.raises(BadRequest):
        changed(b"--b\r\n", {"model": b"1"})
