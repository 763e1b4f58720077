"""Requests and answers of Vertex AI's `PredictionService`, with messages of their shape."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import BadRequest
from igw.parsing.grpc_frames import framed
from igw.parsing.reading import read
from igw.parsing.usage import Usage
from igw.parsing.vertex_grpc import VertexAnswer, with_model
from igw.request import Head, Request

CHAT = {"model": "llama", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def _shapes() -> tuple[Any, Any]:
    """Make prediction_service.proto's ChatCompletionsRequest and httpbody.proto's HttpBody, as far as their fields go."""
    string, data, message = 9, 12, 11
    file = descriptor_pb2.FileDescriptorProto(name="shapes.proto", package="shapes", syntax="proto3")
    body = file.message_type.add(name="HttpBody")
    body.field.add(name="content_type", number=1, type=string, label=1)
    body.field.add(name="data", number=2, type=data, label=1)
    call = file.message_type.add(name="Call")
    call.field.add(name="endpoint", number=1, type=string, label=1)
    call.field.add(name="http_body", number=2, type=message, type_name=".shapes.HttpBody", label=1)
    call.field.add(name="later", number=9, type=string, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("shapes.Call", "shapes.HttpBody")
    made = [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]
    return made[0], made[1]


Call, HttpBody = _shapes()


def call(data: bytes, **fields: str) -> bytes:
    http_body = HttpBody(content_type="application/json", data=data)
    return framed(Call(endpoint="projects/p/endpoints/1", http_body=http_body, **fields).SerializeToString())


def request(body: bytes, method: str = "ChatCompletions", version: str = "v1") -> Request:
    return read(Head(f"/google.cloud.aiplatform.{version}.PredictionService/{method}", "POST", {}), body)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize("method", ["ChatCompletions", "RawPredict", "StreamRawPredict"])
def test_a_chat_inside_is_read_as_one_outside(method: str, version: str) -> None:
    """By the same reader."""
    data = json.dumps(CHAT).encode()
    outside = read(Head("/v1/chat/completions", "POST", {}), data)
    inside = request(call(data), method, version)
    assert ("llama", True, b"".join(outside.prompt), outside.seed) == (
        inside.model, inside.stream, b"".join(inside.prompt), inside.seed,
    )  # fmt: skip


def test_a_raw_call_is_read_by_what_it_has() -> None:
    """Its path does not say which API it is; what is none of OpenAI's passes unread."""
    assert [b'"once', b'"twice'] == [
        b"".join(request(call(data), "RawPredict").prompt)
        for data in (b'{"model":"m","prompt":"once"}', b'{"model":"m","input":"twice"}')
    ]
    assert "" == request(call(b'{"instances":[{"x":1}]}'), "RawPredict").model


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [
        ("ChatCompletions", call(b"{}"), "`messages` not found"),
        ("ChatCompletions", call(b'{"model":"m"}'), "`messages` not found"),
        ("RawPredict", call(b"no json"), "not a valid RawPredict request"),
        ("RawPredict", framed(Call(endpoint="e").SerializeToString()), "`http_body.data` not found"),
        ("RawPredict", framed(b"\x12\x03\x12\x05x"), "not a valid prediction request"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(method: str, body: bytes, said: str) -> None:
    """As for OpenAI's own."""
    with pytest.raises(BadRequest, match=said):
        request(body, method)


def test_a_model_that_is_missing_becomes_the_first_field() -> None:
    """With every length put right, as where one takes another's place."""
    body = call(b' { "messages":[1]}', later="kept")
    assert "" == request(body).model
    assert call(b' {"model":"t", "messages":[1]}', later="kept") == with_model(body, "t")


@given(st.text(min_size=1, max_size=300), st.text(max_size=200), st.booleans())
def test_another_model_is_asked_for_with_every_length_put_right(model: str, text: str, zipped: bool) -> None:
    """Names of any length, so that lengths grow and shrink by bytes of their own; the rest stays as it came."""
    data = f'{{ "a":"{"x" * 100}", "model" : "llama","messages":[{json.dumps(text)}]}}'.encode()
    body = call(data, later="kept")
    if zipped:
        packed = gzip.compress(body[5:])
        body = b"\1" + len(packed).to_bytes(4, "big") + packed
    changed = with_model(body, model)
    message = Call.FromString(changed[5:])
    assert (0, len(changed) - 5) == (changed[0], int.from_bytes(changed[1:5], "big"))
    assert ("projects/p/endpoints/1", "kept") == (message.endpoint, message.later)
    assert model == request(changed).model
    before, _, after = data.partition(b'"llama"')
    assert message.http_body.data.startswith(before)
    assert message.http_body.data.endswith(after)


def test_a_model_that_stays_leaves_the_body_as_it_came() -> None:
    """Every byte of it."""
    body = call(json.dumps(CHAT).encode())
    assert body == with_model(body, "llama")


def test_usage_is_found_in_the_json_of_the_answers_messages() -> None:
    """Whole, or in events of which each has a message."""
    counts = b'"usage":{"prompt_tokens":7,"completion_tokens":10}'
    whole = framed(HttpBody(data=b'{"choices":[],' + counts + b"}").SerializeToString())
    events = [b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', b'data: {"choices":[],' + counts + b"}\n\n",
              b"data: [DONE]\n\n"]  # fmt: skip
    stream = b"".join(framed(HttpBody(data=event).SerializeToString()) for event in events)
    for answer in (whole, stream):
        for step in (1, 7, len(answer)):
            reader = VertexAnswer()
            for at in range(0, len(answer), step):
                reader.feed(answer[at : at + step])
            assert Usage(7, 10) == reader.usage()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused_and_any_answer_is_taken(data: bytes) -> None:
    """No crash, no other error."""
    for method in ("ChatCompletions", "RawPredict"):
        for body in (data, framed(data), call(data)):
            with contextlib.suppress(BadRequest):
                request(body, method)
            reader = VertexAnswer()
            reader.feed(body)
            assert isinstance(reader.usage(), Usage)
