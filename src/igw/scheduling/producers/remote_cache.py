"""`remote-cache-producer`: what endpoints could load of the prompt from a cache outside of them, as that cache itself tells. Ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from igw.config.durations import PATTERN, seconds
from igw.facts import FETCHES, TOKENS, Facts
from igw.prefix.api import Costs, Question, RemoteCache, fetches
from igw.prefix.tokens import prompt_known
from igw.request import Request
from igw.scheduling.api import Producer
from igw.scheduling.loading import BYTES_PER_TOKEN, BytesPerToken, TierSpeed

_Url = Annotated[str, Meta(pattern="^https?://.+")]
_BlockTokens = Annotated[int, Meta(gt=0)]


class LMCache(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The controller of LMCache (`lmcache_controller`)."""

    url: _Url = "http://localhost:9000"
    peers: bool = False
    """Whether engines pull from each other (LMCache's P2P): then what one has in its memory, all can have."""


class Mooncake(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Mooncake Conductor."""

    url: _Url = "http://localhost:13333"
    encoding: Literal["json", "msgpack"] = "json"
    """What it speaks: JSON, or msgpack only, as since September 2026."""
    tenant_id: str = "default"
    model: str = ""
    """Its name of the base model; requests for other names are for a LoRA adapter. Empty: what clients ask for is a base model."""
    block_size_tokens: _BlockTokens = 16


class Redis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A prefix index in Redis or Valkey with the keys of upstream's `redisConfig`; its writers must hash alike."""

    address: str = "redis://127.0.0.1:6379"
    """`redis://`, `rediss://`, `valkey://`, `unix://` or `host:port`."""
    block_size_tokens: _BlockTokens = 16
    hash_seed: str = ""
    hash_algorithm: Literal["cbor-fnv", "xxh64"] = "cbor-fnv"
    """`xxh64` takes the picker a small part of the time."""


class Simulated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tier that simulated servers share (`sharedCacheSize`); one of the candidates is asked."""


class RemoteCacheProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Asks one cache about each prompt, under a deadline; an answer that is late is none. Prompts without tokens are not asked about."""

    type: ClassVar[str] = "remote-cache-producer"
    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    provides: ClassVar[tuple[str, ...]] = (FETCHES,)

    lmcache: LMCache | None = None
    mooncake: Mooncake | None = None
    redis: Redis | None = None
    simulator: Simulated | None = None
    bytes_per_token: BytesPerToken = BYTES_PER_TOKEN
    """Of keys and values: 2 x layers x key-value heads x head size x bytes of a number."""
    cpu: TierSpeed = TierSpeed(50e9, "1ms")
    """An endpoint's own memory."""
    disk: TierSpeed = TierSpeed(5e9, "5ms")
    """Its own disk."""
    remote: TierSpeed = TierSpeed()
    """Memory or disks that all endpoints reach."""
    peer: TierSpeed = TierSpeed()
    """Another endpoint's memory."""
    deadline: Annotated[str, Meta(pattern=PATTERN)] = "20ms"
    """So long a request waits for the answer, at most."""

    def __post_init__(self) -> None:
        if len([each for each in (self.lmcache, self.mooncake, self.redis, self.simulator) if each]) != 1:
            raise ValueError("write exactly one of lmcache, mooncake, redis and simulator")
        self.cache: RemoteCache | None = None
        """Set by whoever has connections."""

    @property
    def costs(self) -> Costs:
        """What loading from each tier takes."""
        tiers = {"cpu": self.cpu, "disk": self.disk, "remote": self.remote, "peer": self.peer}
        return {name: tier.cost(self.bytes_per_token) for name, tier in tiers.items()}

    @property
    def deadline_seconds(self) -> float:
        """How long a request may wait."""
        return seconds(self.deadline)

    async def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return what the candidates could load, if the cache says it in time."""
        prompt = prompt_known(request, facts.produced)
        if self.cache is None or prompt is None or not len(prompt):
            return {}
        offers = await self.cache.offers(
            Question(request.served_model, facts.endpoints, prompt, facts.blocks)
        )
        # Facts count four bytes as a token.
        scale = request.prompt_tokens / len(prompt)
        return {FETCHES: fetches(offers, facts.endpoints, scale)} if scale else {}


_: type[Producer] = RemoteCacheProducer
