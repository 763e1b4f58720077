"""`token-producer`: how long the prompt is, in tokens, and which tokens it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from igw.config.durations import PATTERN, seconds
from igw.endpoint import Endpoint
from igw.facts import TOKENS, Facts
from igw.prefix.chain import Prompt
from igw.prefix.tokens import prompt_of, tokens_in
from igw.request import Request
from igw.scheduling.api import Producer

Ask: TypeAlias = Callable[[Request, tuple[Endpoint, ...]], Awaitable[Prompt | None]]
"""Finds the tokens of a request, which may go to these endpoints, if it can."""


class RenderServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A server that renders prompts as the engine does (`vllm launch render`), or one with `/tokenize` as vLLM and SGLang have it."""

    url: Annotated[str, Meta(pattern="^https?://.+")] = "http://localhost:8000"
    timeout: Annotated[str, Meta(pattern=PATTERN)] = "5s"
    """Accepted, without effect: `deadline` says how long a request may wait."""
    mm_timeout: Annotated[str, Meta(pattern=PATTERN)] = "30s"
    """Likewise."""


class LocalTokenizers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Files of models that tokens are made with in the picker (upstream's `tokenizersPoolConfig` and its `local`)."""

    model_tokenizer_map: dict[str, str] = {}
    """Served name of a model -> its folder, or its `tokenizer.json` with the other files beside it."""
    auto_discovery_dir: str = ""
    """Every folder in it that has a tokenizer is a model: its path there is the served name, or what Hugging Face's cache calls it."""
    auto_discovery_tokenizer_file_name: str = "tokenizer.json"
    workers_count: Annotated[int, Meta(gt=0, le=64)] = 2
    """Threads."""
    cache_size: Annotated[int, Meta(ge=0)] = 64 << 20
    """Bytes of memory for tokens of texts that were seen before, for each model. Ours."""


class PoolServers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The endpoints themselves, those that say by label that they publish KV events. Ours; it has no parameters."""


class TokenProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Without a backend four bytes are a token, upstream's rule (its backend `estimate`); `Request` carries that number anyway."""

    type: ClassVar[str] = "token-producer"
    provides: ClassVar[tuple[str, ...]] = (TOKENS,)

    estimate: dict[str, Any] | None = None
    """Accepted; sizes of images, videos and audio are not estimated yet."""
    vllm: RenderServer | None = None
    local: LocalTokenizers | None = None
    endpoints: PoolServers | None = None
    model_name: str = ""
    """What the server calls the model; empty: as the client does. With `local`, whose tokenizer is used for names that have none."""
    deadline: Annotated[str, Meta(pattern=PATTERN)] = "25ms"
    """So long a request waits for its tokens, at most; then it goes without them. Ours."""

    def __post_init__(self) -> None:
        if len(self._asked) + (self.estimate is not None) > 1 or (
            self.estimate is not None and not self.idle
        ):
            raise ValueError("write one of estimate, vllm (with modelName), local and endpoints")
        self.ask: Ask | None = None
        """Set by whoever has connections and threads."""

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done per request."""
        return not self._asked and not self.model_name

    @property
    def _asked(self) -> list[object]:
        return [each for each in (self.vllm, self.local, self.endpoints) if each is not None]

    @property
    def url(self) -> str:
        """Where the server is that is asked unless others are named."""
        return (self.vllm or RenderServer()).url

    @property
    def deadline_seconds(self) -> float:
        """How long a request may wait."""
        return seconds(self.deadline)

    async def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return the prompt in tokens: those that the request brings, or those that somebody says in time."""
        tokens = tokens_in(request)
        if tokens is not None:
            return {TOKENS: prompt_of(request, tokens)}
        prompt = await self.ask(request, facts.endpoints) if self.ask is not None else None
        return {TOKENS: prompt} if prompt is not None else {}


_: type[Producer] = TokenProducer
