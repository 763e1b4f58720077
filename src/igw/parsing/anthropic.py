"""Anthropic's Messages API."""

from __future__ import annotations

import msgspec

from igw.parsing.api import Api, Body, Found, Parser
from igw.parsing.json_body import decoded, model_name, need, open_ended
from igw.request import Head


class Fields(msgspec.Struct):
    """The top-level fields that matter for routing."""

    model: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    messages: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    cache_salt: str | None = None


_decode = msgspec.json.Decoder(Fields).decode


def _messages(_head: Head, body: Body) -> Found:
    fields = decoded(_decode, body, "messages")
    model = model_name(fields.model)
    need(fields.messages, "messages", "messages")
    return Found(
        model=model,
        model_value=memoryview(fields.model),
        stream=bool(fields.stream),
        prompt=open_ended(fields.tools, fields.system, fields.messages),
        cache_salt=fields.cache_salt or "",
    )


ANTHROPIC = Parser("anthropic-parser", (Api("messages", _messages, "anthropic"),))
