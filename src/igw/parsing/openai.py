"""OpenAI's JSON APIs of texts. Forms are in `parsing.forms`, what draws and speaks in `parsing.generating`, what weighs texts in `parsing.scoring`."""

from __future__ import annotations

import msgspec

from igw.parsing.api import Api, Body, Found, Parser, Read
from igw.parsing.forms import FORM_APIS
from igw.parsing.generating import GENERATING_APIS
from igw.parsing.json_body import decoded, model_name, need, open_ended, present, token_ids
from igw.parsing.scoring import SCORING_APIS
from igw.request import Head


class _Named(msgspec.Struct):
    id: str = ""


class Fields(msgspec.Struct):
    """The top-level fields that matter for routing; everything else is skipped, not decoded."""

    model: msgspec.Raw = msgspec.Raw()
    stream: bool | None = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    items: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    cache_salt: str | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    priority: int | None = None
    previous_response_id: str | None = None
    conversation: str | _Named | None = None
    prompt_cache_key: str | None = None


_decode = msgspec.json.Decoder(Fields).decode


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What one API has of these fields."""

    needs: tuple[str, ...]
    """One of these must be there; the first that is, counts."""
    prompt: tuple[str, ...] = ()
    """In the order in which chat templates render them, what rarely changes first; empty: nothing is run on them."""
    most: tuple[str, ...] = ()
    """Fields that say how many tokens are wanted at most, by precedence."""
    contents: tuple[str, ...] = ()
    """Where media may stand."""
    ids: bool = False
    """Whether the prompt may be tokens."""
    model: bool = True
    """Whether the model must be named."""


def _reader(suffix: str, asked: _Asked) -> Read:
    def read(_head: Head, body: Body) -> Found:
        fields = decoded(_decode, body, suffix)
        model = model_name(fields.model)
        needed = asked.needs[0]
        if len(asked.needs) > 1:
            needed = next((name for name in asked.needs if present(getattr(fields, name))), needed)
        need(getattr(fields, needed), needed, suffix)
        ids = token_ids(getattr(fields, needed), needed) if asked.ids else None
        most = None
        for name in asked.most:
            if most is None:
                most = getattr(fields, name)
        named = fields.conversation
        return Found(
            model=model,
            model_value=memoryview(fields.model) if model or asked.model else None,
            stream=bool(fields.stream),
            prompt=open_ended(*[getattr(fields, name) for name in asked.prompt]) if ids is None else (ids,),
            cache_salt=fields.cache_salt or "",
            max_output_tokens=most,
            # What stays the same from turn to turn first.
            session=(named.id if isinstance(named, _Named) else named)
            or fields.prompt_cache_key
            or fields.previous_response_id
            or "",
            has_tools=len(fields.tools) > len("null"),
            priority=fields.priority,
            contents=[getattr(fields, name) for name in asked.contents] if asked.contents else (),
        )

    return read


_ASKED: dict[str, _Asked] = {
    "chat/completions": _Asked(
        needs=("messages",),
        prompt=("tools", "messages"),
        most=("max_completion_tokens", "max_tokens"),
        contents=("messages",),
    ),
    "completions": _Asked(needs=("prompt",), prompt=("prompt",), most=("max_tokens",), ids=True),
    "responses": _Asked(
        needs=("input",),
        prompt=("instructions", "tools", "input"),
        most=("max_output_tokens",),
        contents=("input",),
    ),
    "conversations": _Asked(needs=("items",), prompt=("items",), contents=("items",), model=False),
    # vLLM's take messages in the place of the input.
    "embeddings": _Asked(
        needs=("input", "messages"), prompt=("input", "messages"), contents=("messages",), ids=True
    ),
    # What is only rendered is not run: it is no work, and leaves nothing in a cache.
    "chat/completions/render": _Asked(needs=("messages",)),
    "completions/render": _Asked(needs=("prompt",)),
}

TEXT_APIS: tuple[Api, ...] = tuple(
    Api(suffix, _reader(suffix, asked), json=True) for suffix, asked in _ASKED.items()
)

OPENAI = Parser("openai-parser", (*TEXT_APIS, *GENERATING_APIS, *SCORING_APIS, *FORM_APIS))
