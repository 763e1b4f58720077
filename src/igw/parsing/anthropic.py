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
    max_tokens: int | None = None
    cache_salt: str | None = None
    priority: int | None = None


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
        max_output_tokens=fields.max_tokens,
        has_tools=len(fields.tools) > len("null"),
        priority=fields.priority,
        contents=(fields.messages,),
    )


def _count(_head: Head, body: Body) -> Found:
    """Counting is not running: it is no work, and leaves nothing in a cache."""
    fields = decoded(_decode, body, "messages/count_tokens")
    model = model_name(fields.model)
    need(fields.messages, "messages", "messages/count_tokens")
    return Found(model=model, model_value=memoryview(fields.model), max_output_tokens=0)


ANTHROPIC = Parser(
    "anthropic-parser",
    (
        Api("messages", _messages, "anthropic", json=True),
        Api("messages/count_tokens", _count, "anthropic", json=True),
    ),
)
