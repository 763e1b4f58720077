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
from igw.facts import APPROXIMATE, BEST, EXACT, PREFIX, SPECULATIVE, TOKENS, Facts
from igw.prefix.chain import Prompt
from igw.prefix.doubts import Doubt, Doubts
from igw.prefix.exact import BLOCK_BYTES, ExactIndex
from igw.prefix.held import CREDITS, EXPECTED
from igw.prefix.tokens import prompt_known
from igw.request import Request
from igw.scheduling.api import Producer

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


class RedisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where upstream's pickers share their index."""

    address: str = "redis://127.0.0.1:6379"


class BlockIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where the index is, and how large."""

    in_memory_config: InMemory | None = None
    cost_aware_memory_config: CostAware | None = None
    redis_config: RedisConfig | None = None
    """Accepted, without effect: every picker hears the engines itself and keeps its index in memory. To read an index in Redis that others
    write: `remote-cache-producer`."""
    enable_metrics: bool = False
    """Accepted, without effect: they are always there."""
    metrics_logging_interval: int = 0


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

    socket_port: Annotated[int, Meta(ge=0, le=65_535)] = 5557
    """0: only endpoints whose label says it are listened to."""
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
        """Return what is held of the prompt, and by what that is known."""
        prompt = self._prompt(request, facts)
        self._last = None
        if prompt is None:
            return {PREFIX: (facts.matched_tokens, facts.prefix_tokens)}
        self.index.expected.expire(facts.now)
        self._place(facts.endpoints)
        keys = self.index.keys(prompt)
        held = self.index.match(keys).at(self._rows)
        exact = held.credited(self._worth)
        # The approximate index counts four bytes as a token.
        tokens_per_guessed = len(prompt) / max(1, request.prompt_tokens)
        believed = facts.matched_tokens * tokens_per_guessed
        guessed = (believed > exact) & ~self._whole
        expected = held.sources.get(EXPECTED, 0.0)
        told = held.tokens - expected
        self._last = (
            keys,
            dict(zip((e.hostport for e in facts.endpoints), told.tolist(), strict=True)),
            facts.now,
        )
        matched = np.where(guessed, believed, exact)
        known_by = np.where(guessed, APPROXIMATE, np.where(expected > told, SPECULATIVE, EXACT))
        return {
            PREFIX: (matched, len(prompt)),
            BEST: (matched / tokens_per_guessed, np.where(matched > 0.0, known_by, "")),
        }

    def decided(self, decision: Decision, /) -> None:
        """Expect the prompt where it goes; called in the same breath as `produce`."""
        last, self._last = self._last, None
        where = decision.endpoint.hostport
        slot = self.index.slot_of(where)
        if slot is None or not decision.request.prompt_bytes:
            return
        self.doubts.asked(tokens=last is not None)
        if last is None:
            return
        keys, told, now = last
        if len(self._open) < _MOST_OPEN:
            self._open[decision.id] = told.get(where, 0.0)
        if self.speculative_indexing:
            # What it holds it may evict, and tells so: only the rest is expected.
            held = int(told.get(where, 0.0))
            rest = {size: chain[held // size :] for size, chain in keys.items()}
            self.index.expect(slot, rest, now + self._ttl_seconds)

    def ended(self, decision: Decision, outcome: Any, /) -> None:
        """Compare what was known with what the engine says of it."""
        held, where = self._open.pop(decision.id, None), decision.endpoint.hostport
        if held is None or outcome.status != 200 or outcome.served_by not in ("", where):
            return
        usage = outcome.usage
        tokens = usage.prompt_tokens or decision.request.prompt_tokens
        if self.index.slot_of(where) is not None:  # else nobody listens to it
            self.doubts.served(where, tokens, held, usage.cached_tokens)

    def left(self, hostport: str, /) -> None:
        """Forget an endpoint that left its pool."""
        self.index.remove(hostport)
        self.doubts.left(hostport)

    def _prompt(self, request: Request, facts: Facts) -> Prompt | None:
        prompt = prompt_known(request, facts.produced)
        if prompt is None or not self.index.is_adapter(request.served_model):
            return prompt
        return msgspec.structs.replace(prompt, adapter=request.served_model)

    def _place(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Find the slots of the candidates, which mostly are those of the last request."""
        if self._rows_of[0] is not endpoints or self._rows_of[1] != self.index.version:
            slots = [self.index.slot_of(endpoint.hostport) for endpoint in endpoints]
            self._rows = np.array([-1 if slot is None else slot for slot in slots], dtype=np.intp)
            self._rows_of = (endpoints, self.index.version)
        self._whole = self.index.whole(self._rows)


def _nobody_reports(_doubt: Doubt) -> None:
    """Until the picker says who does."""


_: type[Producer] = PrecisePrefixCacheProducer
