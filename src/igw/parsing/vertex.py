"""Vertex AI's prediction over REST: `predict` with its instances, and `rawPredict`, which passes on what the model itself takes.

The path names a published model, or an endpoint, whose models nobody knows here. Its gRPC is in `parsing.vertex_grpc`.
"""

from __future__ import annotations

import msgspec

from igw.parsing.api import Api, Body, Found, Read
from igw.parsing.json_body import decoded, model_name, need, open_ended
from igw.parsing.kserve import model_in
from igw.request import Head


class _Parameters(msgspec.Struct):
    max_output_tokens: int | None = msgspec.field(name="maxOutputTokens", default=None)
    max_tokens: int | None = None


class Predict(msgspec.Struct):
    """A body of `predict`."""

    instances: msgspec.Raw = msgspec.Raw()
    parameters: _Parameters | None = None


class Raw(msgspec.Struct):
    """A body of `rawPredict`: fields of OpenAI's and Anthropic's APIs, as far as they are there."""

    model: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    tools: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: int | None = None
    max_tokens: int | None = None


_decode_predict = msgspec.json.Decoder(Predict).decode
_decode_raw = msgspec.json.Decoder(Raw).decode


def _predict(head: Head, body: Body) -> Found:
    fields = decoded(_decode_predict, body, "predict")
    need(fields.instances, "instances", "predict")
    said = fields.parameters or _Parameters()
    return Found(
        model=model_in(head.path),
        prompt=open_ended(fields.instances),
        max_output_tokens=said.max_tokens if said.max_output_tokens is None else said.max_output_tokens,
        contents=(fields.instances,),
    )


def _raw(*, streams: bool) -> Read:
    def read(head: Head, body: Body) -> Found:
        fields = decoded(_decode_raw, body, "rawPredict")
        model = model_name(fields.model)
        most = fields.max_completion_tokens
        return Found(
            model=model or model_in(head.path),
            model_value=memoryview(fields.model) if model else None,
            stream=streams or bool(fields.stream),
            prompt=open_ended(fields.tools, fields.system, fields.messages, fields.prompt, fields.input),
            max_output_tokens=fields.max_tokens if most is None else most,
            has_tools=len(fields.tools) > len("null"),
            contents=(fields.messages,),
        )

    return read


_RAW, _STREAMED = _raw(streams=False), _raw(streams=True)

VERTEX_REST_APIS: tuple[Api, ...] = (
    # Claude's errors are Anthropic's, and so is what its SDK for Vertex reads.
    Api("publishers/anthropic/models/*:rawPredict", _RAW, "anthropic", json=True),
    Api("publishers/anthropic/models/*:streamRawPredict", _STREAMED, "anthropic", json=True),
    *[
        Api(f"{where}:{last}", read, json=True)
        for where in ("publishers/*/models/*", "endpoints/*")
        for last, read in (("predict", _predict), ("rawPredict", _RAW), ("streamRawPredict", _STREAMED))
    ],
)
"""Upstream's parser has Vertex AI's gRPC only."""
