"""A body with another name in it: the name's bytes change and no others."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.extproc.splice import spliced
from igw.parsing.reading import read
from igw.request import Head, Request

HEAD = Head("/v1/chat/completions", "POST", {})
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


spaces = st.text(alphabet=" \t\r\n", max_size=3)


@given(
    st.text(min_size=1),
    st.text(min_size=1),
    values,
    values,
    st.lists(spaces, min_size=6, max_size=6),
    st.booleans(),
)
def test_only_the_value_of_the_field_changes(
    model: str, target: str, before: object, after: object, gaps: list[str], growing: bool
) -> None:
    """Whatever stands around it, in bytes or in a buffer that grew; the target is a JSON string."""
    head = f'{gaps[0]}{{"before":{gaps[1]}{json.dumps(before)}, "model"{gaps[2]}:{gaps[3]}'
    tail = f'{gaps[4]},"messages": [{json.dumps({"content": model})}],{gaps[5]}"after":{json.dumps(after)}}}'
    plain = (head + json.dumps(model) + tail).encode()
    body = bytearray(plain) if growing else plain
    new = spliced(body, read(HEAD, body), target)
    assert new is not None
    assert new.startswith(head.encode())
    assert new.endswith(tail.encode())
    assert json.loads(new)["model"] == target


def test_of_two_models_the_one_that_counts_is_replaced() -> None:
    """The last, as every JSON reader takes it."""
    body = b'{"model": "m", "messages": [{}], "model": "m"}'
    assert spliced(body, read(HEAD, body), "t") == b'{"model": "m", "messages": [{}], "model": "t"}'


@given(values, st.lists(spaces, min_size=2, max_size=2), st.booleans())
def test_a_missing_name_becomes_the_first_field(after: object, gaps: list[str], long: bool) -> None:
    """Nothing else changes, whether or not a long string is put aside when the body is read."""
    rest = (
        f'{gaps[1]}"messages": [{json.dumps("A" * 20_000 if long else "hi")}],"after":{json.dumps(after)}}}'
    )
    body = f"{gaps[0]}{{{rest}".encode()
    assert spliced(body, read(HEAD, body), "t") == f'{gaps[0]}{{"model":"t",{rest}'.encode()


@pytest.mark.parametrize("written", ["null", '""'])
def test_a_name_that_says_nothing_is_replaced(written: str) -> None:
    """It is there, so another field of that name would be one too many."""
    body = f'{{"messages":[1], "model": {written} }}'.encode()
    assert spliced(body, read(HEAD, body), "t") == b'{"messages":[1], "model": "t" }'


def test_in_a_form_the_name_is_not_quoted() -> None:
    """A field of multipart/form-data is the bare value."""
    body = b"--x\r\n\r\nwhisper\r\n--x--"
    request = Request(HEAD, model="whisper", model_value=memoryview(body)[7:14], model_quoted=False)
    assert spliced(body, request, "caf\u00e9") == b"--x\r\n\r\ncaf\xc3\xa9\r\n--x--"


@pytest.mark.parametrize("target", ["", "t"])
def test_where_there_is_nothing_to_replace_there_is_no_new_body(target: str) -> None:
    """No target, or no name that stands in the body."""
    value = None if target else memoryview(b'"m"')
    assert spliced(b'"m"', Request(HEAD, model="m", model_value=value), target) is None


def test_a_name_that_was_read_from_something_else_is_a_bug() -> None:
    """It must not end in a body cut somewhere."""
    body = b'{"model": "m"}'
    with pytest.raises(ValueError, match="not in the body"):
        spliced(body, Request(HEAD, model="m", model_value=memoryview(bytes(100))), "t")


def test_where_lengths_stand_before_the_name_they_are_put_right() -> None:
    """JSON in a gRPC message (Vertex AI): HttpBody's field 2 in the call's field 2."""
    head = Head("/google.cloud.aiplatform.v1.PredictionService/ChatCompletions", "POST", {})

    def call(model: str) -> bytes:
        data = json.dumps({"model": model, "messages": [{}]}).encode()
        message = bytes((0x12, len(data) + 2, 0x12, len(data))) + data
        return b"\0" + len(message).to_bytes(4, "big") + message

    assert spliced(call("llama"), read(head, call("llama")), "llama-v2") == call("llama-v2")
