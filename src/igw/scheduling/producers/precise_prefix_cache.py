"""`precise-prefix-cache-producer`: which endpoint holds which prefix, as the engines themselves tell by their KV events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from igw.config.durations import PATTERN, seconds
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import PREFIX, TOKENS, Column, Facts
from igw.prefix.chain import Prompt
from igw.prefix.doubts import Doubt, Doubts
from igw.prefix.exact import BLOCK_BYTES, ExactIndex
from igw.prefix.held import APPROXIMATE, CREDITS, SOURCES, Held
from igw.prefix.tokens import prompt_of, tokens_in
from igw.request import Request
from igw.scheduling.api import Producer

HELD = "PrefixCacheSources"
"""Fact of ours: per candidate, from where most of its match is known (`igw.prefix.held.SOURCES`); empty where nothing matches."""

_MOST_OPEN = 100_000
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_DEFAULT_BYTES = 1 << 30


class TokenProcessor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Accepted, without effect: blocks are as large as the engine's, and keys need not be its hashes."""

    block_size_tokens: Annotated[int, Meta(gt=0)] = 16
    block_size: Annotated[int, Meta(ge=0)] = 0
    hash_seed: str = ""
    hash_algorithm: Literal["cbor-fnv", "xxh64"] = "cbor-fnv"


class InMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The index in this process."""

    size: Annotated[int, Meta(gt=0)] = 100_000_000
    """Most blocks; memory is bounded by `costAwareMemoryConfig.size` all the same."""
    pod_cache_size: int = 10
    """Accepted, without effect: every holder of a block is known."""


class CostAware(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The index's memory."""

    size: Annotated[str, Meta(pattern=r"^[0-9]{1,12}( ?([KMG]i?B))?$")] = "1GiB"


class BlockIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where the index is, and how large."""

    in_memory_config: InMemory | None = None
    cost_aware_memory_config: CostAware | None = None
    redis_config: dict[str, Any] | None = None
    """An error: an index shared between pickers is not in igw yet."""
    enable_metrics: bool = False
    """Accepted, without effect: they are always there."""
    metrics_logging_interval: int = 0

    def __post_init__(self) -> None:
        if self.redis_config is not None:
            raise ValueError("redisConfig, an index shared between pickers, is not in igw yet")


class Tier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tier is worth."""

    name: str
    weight: Annotated[float, Meta(ge=0)]


class Indexer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Size of the index, and what its tiers are worth."""

    kv_block_index_config: BlockIndex = BlockIndex()
    kv_cache_backend_configs: tuple[Tier, ...] = ()
    """What a token is worth that is in a tier; 1 in GPU memory, 0.8 in that of the CPU, 0.5 on disk and remote."""
    tokenizers_pool_config: dict[str, Any] | None = None
    """Accepted, without effect: tokens are the token producer's."""


class Discovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where engines publish; the labels `igw.dev/kv-events-port` and `igw.dev/kv-events-replay-port` of an endpoint win."""

    socket_port: Annotated[int, Meta(gt=0, le=65_535)] = 5557
    replay_socket_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """0: there is none, and a gap costs what was known of the engine."""
    pod_label_selector: str = "llm-d.ai/inference-serving=true"
    """Accepted, without effect: who is in a pool is listened to."""
    pod_namespace: str = ""
    """Likewise."""


class CurveFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Files with keys of ZeroMQ's CURVE, 40 characters of Z85 each. Ours; upstream has no authentication."""

    public_key_file: str
    secret_key_file: str
    server_key_file: str = ""
    """The engines' public key, where we connect to them."""


class KvEventsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How engines are listened to."""

    zmq_endpoint: str = ""
    """Where engines connect to us; empty: we connect to each."""
    topic_filter: str = "kv@"
    """Of what comes to `zmqEndpoint`; where we connect, every topic counts."""
    concurrency: int = 4
    """Accepted, without effect."""
    engine_type: Literal["vllm", "sglang"] = "vllm"
    """Accepted, without effect: both are understood."""
    discover_pods: bool = True
    """Without it, and without `zmqEndpoint`, nobody is listened to."""
    pod_discovery_config: Discovery = Discovery()
    curve: CurveFiles | None = None


class PrecisePrefixCacheProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Says how many tokens of a prompt each endpoint holds, each worth what its tier is worth.

    Where an engine's events are not known from its start on, or a request has no tokens, what the approximate index believes is used.
    Owner of its index, which `igw.kvevents` writes.
    """

    type: ClassVar[str] = "precise-prefix-cache-producer"
    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    provides: ClassVar[tuple[str, ...]] = (PREFIX,)

    token_processor_config: TokenProcessor = TokenProcessor()
    indexer_config: Indexer = Indexer()
    kv_events_config: KvEventsConfig = KvEventsConfig()
    speculative_indexing: bool = False
    """Whether a pick counts as held at once, until the engine tells."""
    speculative_ttl: Annotated[str, Meta(pattern=PATTERN)] = msgspec.field(
        name="speculativeTTL", default="2s"
    )

    def __post_init__(self) -> None:
        self.index = ExactIndex(self._max_bytes)
        self.doubts = Doubts(self.index.told, _nobody_reports)
        self._worth = {
            **CREDITS,
            **{t.name.lower(): t.weight for t in self.indexer_config.kv_cache_backend_configs},
        }
        self._ttl_seconds = seconds(self.speculative_ttl)
        self._rows: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._whole: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._rows_of: tuple[tuple[Endpoint, ...], int] = ((), -1)
        self._last: tuple[dict[int, list[int]], dict[str, float], float] | None = None
        self._open: dict[int, float] = {}  # decision -> tokens that its endpoint was known to hold

    @property
    def _max_bytes(self) -> int:
        config = self.indexer_config.kv_block_index_config
        most = _DEFAULT_BYTES
        if config.cost_aware_memory_config is not None:
            size = config.cost_aware_memory_config.size
            number = size.rstrip("KMGiB ")
            most = int(number) * _UNITS[size[len(number) :].strip()]
        if config.in_memory_config is not None:
            most = min(most, config.in_memory_config.size * BLOCK_BYTES)
        return most

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return what is held of the prompt, and from where that is known."""
        prompt = self._prompt(request, facts)
        self._last = None
        if prompt is None:
            return {
                PREFIX: (facts.matched_tokens, facts.prefix_tokens),
                HELD: np.where(facts.matched_tokens > 0, APPROXIMATE, ""),
            }
        self.index.expected.expire(facts.now)
        self._place(facts.endpoints)
        keys = self.index.keys(prompt)
        held = self.index.match(keys).at(self._rows)
        exact = held.credited(self._worth)
        # The approximate index counts four bytes as a token.
        believed = facts.matched_tokens * (len(prompt) / max(1, request.prompt_tokens))
        guessed = (believed > exact) & ~self._whole
        told = held.tokens - held.sources.get("expected", 0.0)
        self._last = (
            keys,
            dict(zip((e.hostport for e in facts.endpoints), told.tolist(), strict=True)),
            facts.now,
        )
        return {
            PREFIX: (np.where(guessed, believed, exact), len(prompt)),
            HELD: np.where(guessed, APPROXIMATE, _most(held)),
        }

    def decided(self, decision: Decision, /) -> None:
        """Expect the prompt where it goes; called in the same breath as `produce`."""
        last, self._last = self._last, None
        if not decision.request.prompt_bytes:
            return
        self.doubts.asked(tokens=last is not None)
        where = decision.endpoint.hostport
        if last is None:
            return
        keys, told, now = last
        if len(self._open) < _MOST_OPEN:
            self._open[decision.id] = told.get(where, 0.0)
        slot = self.index.slot_of(where)
        if self.speculative_indexing and slot is not None:
            self.index.expect(slot, keys, now + self._ttl_seconds)

    def ended(self, decision: Decision, outcome: Any, /) -> None:
        """Compare what was known with what the engine says of it."""
        held = self._open.pop(decision.id, None)
        if held is None or outcome.status != 200 or outcome.served_by not in ("", decision.endpoint.hostport):
            return
        usage = outcome.usage
        tokens = usage.prompt_tokens or decision.request.prompt_tokens
        self.doubts.served(decision.endpoint.hostport, tokens, held, usage.cached_tokens)

    def left(self, hostport: str, /) -> None:
        """Forget an endpoint that left its pool."""
        self.index.remove(hostport)
        self.doubts.left(hostport)

    def _prompt(self, request: Request, facts: Facts) -> Prompt | None:
        adapter = request.served_model if self.index.is_adapter(request.served_model) else ""
        for key, found in facts.produced.items():
            if key.startswith(f"{TOKENS}/") and isinstance(found, Prompt):
                return msgspec.structs.replace(found, adapter=adapter)
        tokens = tokens_in(request)
        return prompt_of(request, tokens, adapter=adapter) if tokens is not None else None

    def _place(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Find the slots of the candidates, which mostly are those of the last request."""
        if self._rows_of[0] is not endpoints or self._rows_of[1] != self.index.version:
            slots = [self.index.slot_of(endpoint.hostport) for endpoint in endpoints]
            self._rows = np.array([-1 if slot is None else slot for slot in slots], dtype=np.intp)
            self._rows_of = (endpoints, self.index.version)
        self._whole = self.index.whole(self._rows)


def _most(held: Held) -> NDArray[np.str_]:
    """Return per endpoint the source of most of what it holds."""
    names = [source for source in SOURCES if source in held.sources]
    columns: list[Column] = [held.sources[name] for name in names]
    best = np.array(names)[np.argmax(np.stack(columns), axis=0)] if columns else np.full(len(held.tokens), "")
    return np.where(held.tokens > 0, best, "")


def _nobody_reports(_doubt: Doubt) -> None:
    """Until the picker says who does."""


_: type[Producer] = PrecisePrefixCacheProducer
