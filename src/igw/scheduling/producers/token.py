"""`token-producer`: how long the prompt is, in tokens, and which tokens it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from igw.config.durations import PATTERN, seconds
from igw.facts import TOKENS, Facts
from igw.prefix.chain import Prompt
from igw.request import Request
from igw.scheduling.api import Producer

Ask: TypeAlias = Callable[[Request], Awaitable[Prompt | None]]
"""Finds the tokens of a request, if it can."""


class RenderServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A server that renders prompts as the engine does (`vllm launch render`), or any model server with `/tokenize`."""

    url: Annotated[str, Meta(pattern="^https?://.+")] = "http://localhost:8000"
    timeout: Annotated[str, Meta(pattern=PATTERN)] = "5s"
    """Accepted, without effect: `deadline` says how long a request may wait."""
    mm_timeout: Annotated[str, Meta(pattern=PATTERN)] = "30s"
    """Likewise."""


class TokenProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Without a server four bytes are a token, upstream's rule (its backend `estimate`); `Request` carries that number anyway."""

    type: ClassVar[str] = "token-producer"
    provides: ClassVar[tuple[str, ...]] = (TOKENS,)

    estimate: dict[str, Any] | None = None
    """Accepted; sizes of images, videos and audio are not estimated yet."""
    vllm: RenderServer | None = None
    model_name: str = ""
    """What the server calls the model; empty: as the client does."""
    deadline: Annotated[str, Meta(pattern=PATTERN)] = "25ms"
    """So long a request waits for its tokens, at most; then it goes without them. Ours."""

    def __post_init__(self) -> None:
        if self.estimate is not None and not self.idle:
            raise ValueError("write one of estimate and vllm (with modelName)")
        self.ask: Ask | None = None
        """Set by whoever has connections."""

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done per request."""
        return self.vllm is None and not self.model_name

    @property
    def url(self) -> str:
        """Where the server is."""
        return (self.vllm or RenderServer()).url

    @property
    def deadline_seconds(self) -> float:
        """How long a request may wait."""
        return seconds(self.deadline)

    async def produce(self, request: Request, _facts: Facts, /) -> Mapping[str, Any]:
        """Return the prompt in tokens, if the server says them in time."""
        prompt = await self.ask(request) if self.ask is not None else None
        return {TOKENS: prompt} if prompt is not None else {}


_: type[Producer] = TokenProducer
