"""What an API of model servers is to us: the paths it claims, and a function from a body to what it says.

One file per family of APIs implements this; which of them are in force is `parsing.registry`, and what all have in common is in `parsing.reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from igw.parsing.answers import AnswerReader, JsonAnswer
from igw.request import Generation, Head, Media


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a body says of its request."""

    model: str = ""
    model_value: memoryview | None = None
    """The value of `model` as it stands in the body, a slice of it; None where it cannot be replaced.

    Empty: a JSON body lacks the field, and its API needs it.
    """
    model_quoted: bool = True
    """Whether what replaces it must be a JSON string; False: the bare name, in a form."""
    stream: bool = False
    prompt: Sequence[memoryview] = ()
    """Slices of the body, in the order in which the engine renders them; see `Request.prompt`."""
    cache_salt: str = ""
    """What must be equal, beside the model, for a cached prefix to be shared."""
    max_output_tokens: int | None = None
    media: tuple[Media, ...] = ()
    generation: Generation | None = None
    session: str = ""
    has_tools: bool = False
    priority: int | None = None
    """A field of the body that the engine orders by (vLLM `priority`); not the objective's."""
    contents: Sequence[msgspec.Raw] = ()
    """Lists of messages or of content in which media may stand: they are looked for, and given their place in the prompt, by `parsing.media`."""


Body: TypeAlias = bytes | bytearray
Read: TypeAlias = Callable[[Head, Body], Found]
"""Raises `BadRequest` naming the field and the reason."""

Shape: TypeAlias = Literal["openai", "anthropic"]
"""How an API writes its errors."""


class Api(msgspec.Struct, frozen=True):
    """One inference API."""

    suffix: str
    """Last path segments; matched on segment borders, so `/x/mycompletions` is not `completions`. `*` is one segment, or one up to a colon."""
    read: Read
    errors: Shape = "openai"
    json: bool = False
    """Whether bodies are JSON: then limits on depth and keys apply, and long strings are put aside before it is read."""
    answer: Callable[[], AnswerReader] = JsonAnswer
    """Makes what reads the token counts of one answer."""


class Parser(msgspec.Struct, frozen=True):
    """A family of APIs, under upstream's type name."""

    type: str
    apis: tuple[Api, ...]
    """Empty: it takes what no other one claims, and reads nothing."""
