"""OpenAI's JSON APIs. Multipart ones are in `parsing.multipart`, what engines add beside them in their own files."""

from __future__ import annotations

import msgspec

from igw.parsing.api import Api, Body, Found, Parser, Read
from igw.parsing.json_body import decoded, model_name, need, open_ended
from igw.request import Head


class Fields(msgspec.Struct):
    """The top-level fields that matter for routing; everything else is skipped, not decoded."""

    model: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    cache_salt: str | None = None


_decode = msgspec.json.Decoder(Fields).decode


def _reader(suffix: str, required: str, *prompt: str) -> Read:
    """Return how an API is read. *prompt*: its fields in the order chat templates render them, what rarely changes first."""

    def read(_head: Head, body: Body) -> Found:
        fields = decoded(_decode, body, suffix)
        model = model_name(fields.model)
        need(getattr(fields, required), required, suffix)
        return Found(
            model=model,
            model_value=memoryview(fields.model),
            stream=bool(fields.stream),
            prompt=open_ended(*[getattr(fields, name) for name in prompt]),
            cache_salt=fields.cache_salt or "",
        )

    return read


def _api(suffix: str, required: str, *prompt: str) -> Api:
    return Api(suffix, _reader(suffix, required, *prompt))


OPENAI = Parser(
    "openai-parser",
    (
        _api("chat/completions", "messages", "tools", "messages"),
        _api("completions", "prompt", "prompt"),
        _api("responses", "input", "instructions", "tools", "input"),
        _api("embeddings", "input", "input"),
    ),
)
