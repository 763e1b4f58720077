"""KServe's protocols: v2 `infer` and its extension `generate` (Triton and others), v1 `predict`. They name the model in the path.

Source: Open Inference Protocol 2.0 and Triton's `generate` and `binary_data` extensions. There is no replacing a name in a path.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import msgspec

from igw.errors import BadRequest
from igw.parsing.answers import TritonAnswer
from igw.parsing.api import Api, Body, Found, Parser, Read
from igw.parsing.json_body import decoded, need, open_ended, token_ids
from igw.request import Head

_MODEL = re.compile(r"/models/([^/]+?)(?::[A-Za-z]+)?(?:/|$)")
_NUMBER = re.compile(rb"[\[\s]*(\d{1,9})[\]\s]*")
_HEADER_LENGTH = "inference-header-content-length"
_MOST_TEXT_BYTES = 1 << 20
"""Of a tensor of strings. A larger one is a file, and no prompt."""


class _Parameters(msgspec.Struct):
    max_tokens: int | None = None
    stream: bool | None = None


class Generate(msgspec.Struct):
    """A body of `generate`: vLLM's backend has parameters of their own, TensorRT-LLM's has them beside the text."""

    text_input: msgspec.Raw = msgspec.Raw()
    parameters: _Parameters | None = None
    max_tokens: int | None = None
    stream: bool | None = None


class Tensor(msgspec.Struct):
    """One of the inputs of `infer`; its data stands behind the JSON if it is binary."""

    name: str
    datatype: str = ""
    data: msgspec.Raw = msgspec.Raw()


class Infer(msgspec.Struct):
    """A body of `infer`."""

    inputs: list[Tensor]


class Predict(msgspec.Struct):
    """A body of `predict`."""

    instances: msgspec.Raw = msgspec.Raw()


_decode_generate = msgspec.json.Decoder(Generate).decode
_decode_infer = msgspec.json.Decoder(Infer).decode
_decode_predict = msgspec.json.Decoder(Predict).decode


def model_in(path: str) -> str:
    """Return the model that a path names behind `models`; empty if it names none. The last one counts."""
    found = _MODEL.findall(path.partition("?")[0])
    return unquote(found[-1]) if found else ""


def _generate(suffix: str, *, streams: bool) -> Read:
    def read(head: Head, body: Body) -> Found:
        fields = decoded(_decode_generate, body, suffix)
        need(fields.text_input, "text_input", suffix)
        more = fields.parameters or _Parameters()
        return Found(
            model=model_in(head.path),
            stream=streams or bool(fields.stream or more.stream),
            prompt=open_ended(fields.text_input),
            max_output_tokens=more.max_tokens if fields.max_tokens is None else fields.max_tokens,
        )

    return read


def _infer(head: Head, body: Body) -> Found:
    said = head.headers.get(_HEADER_LENGTH)
    if said is not None:
        if not (said.isascii() and said.isdigit() and int(said) <= len(body)):
            raise BadRequest(f"the header {_HEADER_LENGTH} is no length of the JSON in the body")
        body = body[: int(said)]
    prompt: list[memoryview] = []
    numbers: dict[str, int] = {}
    for tensor in decoded(_decode_infer, body, "infer").inputs:
        if tensor.name == "input_ids":
            prompt += [ids for ids in (token_ids(tensor.data, "input_ids"),) if ids is not None]
        elif tensor.datatype == "BYTES" and 0 < len(tensor.data) <= _MOST_TEXT_BYTES:
            prompt += open_ended(tensor.data)
        elif len(tensor.data) and (number := _NUMBER.fullmatch(memoryview(tensor.data))) is not None:
            numbers[tensor.name] = int(number[1])
    return Found(
        model=model_in(head.path),
        prompt=tuple(prompt),
        max_output_tokens=numbers.get("max_tokens", numbers.get("request_output_len")),
    )


def _predict(head: Head, body: Body) -> Found:
    fields = decoded(_decode_predict, body, "predict")
    need(fields.instances, "instances", "predict")
    return Found(model=model_in(head.path), prompt=open_ended(fields.instances))


def _apis(last: str, read: Read, **more: Any) -> tuple[Api, ...]:
    where = ("v2/models/*", "v2/models/*/versions/*")
    return tuple(Api(f"{each}/{last}", read, answer=TritonAnswer, **more) for each in where)


KSERVE = Parser(
    "kserve-parser",
    (
        *_apis("generate", _generate("generate", streams=False), json=True),
        *_apis("generate_stream", _generate("generate_stream", streams=True), json=True),
        # Not all of the body need be JSON.
        *_apis("infer", _infer),
        Api("models/*:predict", _predict, json=True),
    ),
)
"""Upstream has none for it."""
