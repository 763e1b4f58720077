"""Vertex AI's gRPC `PredictionService`, whose messages carry the JSON of OpenAI's APIs. What that says is read by `parsing.openai`.

Numbers are those of the fields in prediction_service.proto (2 http_body) and google/api/httpbody.proto (2 data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
import numpy as np

from igw.errors import BadRequest
from igw.parsing.answers import JsonAnswer
from igw.parsing.api import Api, Body, Found, Parser, Read
from igw.parsing.grpc_frames import Messages, framed, only_message
from igw.parsing.json_body import decoded, first_field, present
from igw.parsing.openai import OPENAI
from igw.parsing.usage import Usage
from igw.parsing.wire_format import Malformed, Message, fields, varint
from igw.request import Head

SERVICES = (
    "google.cloud.aiplatform.v1.PredictionService",
    "google.cloud.aiplatform.v1beta1.PredictionService",
)

KEPT_BYTES = 4 << 20
"""Of one message of an answer; what lies beyond is not looked at."""

_HTTP_BODY = _DATA = 2

_OPENAI: Mapping[str, Read] = {api.suffix: api.read for api in OPENAI.apis}


class Fields(msgspec.Struct):
    """What tells OpenAI's APIs apart where the path does not, and the name of the model."""

    model: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(Fields).decode


def _chat(head: Head, body: Body) -> Found:
    return _OPENAI["chat/completions"](head, bytes(_places(body)[2]))


def _raw(head: Head, body: Body) -> Found:
    """Read a call that may be for a model of any kind; what is for none of OpenAI's APIs is balanced without being read."""
    # Copied: what is found are then slices of JSON and of nothing else.
    data = bytes(_places(body)[2])
    shape = decoded(_decode, data, "RawPredict")
    if present(shape.messages):
        return _OPENAI["chat/completions"](head, data)
    if present(shape.prompt):
        return _OPENAI["completions"](head, data)
    return _OPENAI["responses"](head, data) if present(shape.input) else Found()


def _places(body: Body) -> tuple[memoryview, memoryview, memoryview]:
    """Return the message, `http_body` in it and `data` in that."""
    message = only_message(body)
    try:
        http_body = Message(message).parts(_HTTP_BODY)
        data = Message(http_body[-1]).parts(_DATA) if http_body else ()
    except Malformed as error:
        raise BadRequest(f"the request is not a valid prediction request: {error}") from None
    if not data:
        raise BadRequest("`http_body.data` not found in the request")
    return message, http_body[-1], data[-1]


def with_model(body: Body, model: str) -> bytes:
    """Return a body that could be read, asking for *model*: the lengths before the name are put right, no other byte changes.

    What came compressed is not any more, which gRPC allows for every message.
    """
    message, http_body, data = _places(body)
    old, new = memoryview(_decode(data).model), msgspec.json.encode(model)
    if not old:
        start, new = first_field(bytes(data), new)
        old = data[start - 1 : start]  # the brace: nothing has no address
        new = b"{" + new
    changed = _replaced(http_body, data, _replaced(data, old, new, counted=False))
    return framed(_replaced(message, http_body, changed))


def _replaced(whole: memoryview, part: memoryview, by: bytes, *, counted: bool = True) -> bytes:
    """Return *whole* with *by* in the place of *part*, a slice of it; *counted*: behind the length of what is there now."""
    start = end = _address(part) - _address(whole)
    if counted:
        # The last byte of a length is below 0x80, all before it are not, and neither is the last byte of the tag before.
        start -= 1
        while whole[start - 1] >= 0x80:
            start -= 1
    length = varint(len(by)) if counted else b""
    return b"".join((whole[:start], length, by, whole[end + len(part) :]))


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


class VertexAnswer:
    """The counts in the JSON that the messages of an answer carry: one whole, or a stream of events."""

    def __init__(self) -> None:
        self._messages = Messages(KEPT_BYTES)
        self._json = JsonAnswer()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the answer's body."""
        for message in self._messages.feed(piece):
            with suppress(Malformed):
                for number, value in fields(message, cut=True):
                    if number == _DATA and not isinstance(value, int):
                        self._json.feed(bytes(value))

    def usage(self) -> Usage:
        """Return what was counted up to now."""
        return self._json.usage()


VERTEX_GRPC = Parser(
    "vertexai-parser",
    tuple(
        Api(f"{service}/{method}", read, answer=VertexAnswer)
        for service in SERVICES
        for method, read in (("ChatCompletions", _chat), ("StreamRawPredict", _raw), ("RawPredict", _raw))
    ),
)

WITH_MODEL: Mapping[str, Callable[[Body, str], bytes]] = {api.suffix: with_model for api in VERTEX_GRPC.apis}
"""By API: how another model is asked for where that takes more than other bytes in the name's place."""
