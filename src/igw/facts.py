"""What is known when a request is decided: columns of numbers, one entry per candidate, in candidate order.

Who measures them is not here: engines are read in `scraping`, promises are kept in `outcomes`, prefixes in `prefix`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.endpoint import Endpoint

Column: TypeAlias = NDArray[np.float64]
"""Shape: [candidates]. Always finite: an unknown entry holds the mean of the known ones, because unknown is not idle."""


NO_COLUMN: Column = np.zeros(0)
NO_COLUMN.flags.writeable = False
_NO_ADAPTERS: NDArray[np.object_] = np.zeros(0, dtype=object)
_NO_ADAPTERS.flags.writeable = False
ALL_APPROXIMATE: NDArray[np.str_] = np.zeros(0, dtype=np.str_)
ALL_APPROXIMATE.flags.writeable = False
_NO_FETCHES: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
_NO_FETCHES.flags.writeable = False
_ALL_KNOWN: NDArray[np.bool_] = np.zeros(0, dtype=bool)
_ALL_KNOWN.flags.writeable = False

FETCHES = "FetchablePrefix"
"""Fact of ours: what candidates could fetch of the prompt's KV cache, as tuples of the fields of `Fetch`."""

PREFIX, LOAD, ADDED, MEDIA, SESSION, TOKENS = (
    "PrefixCacheMatchInfo", "InFlightLoad", "UncachedRequestTokens", "EncoderCacheMatchInfo", "SessionID", "TokenizedPrompt",
)  # fmt: skip
"""Upstream's names of the facts that producers provide (its data types)."""

BEST = "BestPrefixMatch"
"""Fact of ours: what all knowledge together says of the prompt's prefix, as (`Facts.matched_tokens`, `Facts.matched_by`)."""

EXACT, SPECULATIVE, APPROXIMATE = "exact", "speculative", "approximate"
"""By what a match is known: the engine told of those blocks; a request with them was just sent there; our own picks make it likely."""

DEFAULT_PRODUCERS: Mapping[str, str] = {
    PREFIX: "approx-prefix-cache-producer",
    LOAD: "inflight-load-producer",
    ADDED: "inflight-load-producer",
    "LatencyPredictionInfo": "predicted-latency-producer",
    MEDIA: "mm-embeddings-cache-producer",
    TOKENS: "token-producer",
    SESSION: "session-id-producer",
}
"""Which producer a plugin means that names none: its type is its name (upstream's rule)."""


class Adapters(msgspec.Struct, frozen=True):
    """The LoRA adapters of one engine as it reports them (vLLM `lora_requests_info`), and whose they are."""

    running: frozenset[str] = frozenset()
    """Adapters of the requests in the batch. vLLM does not say which are loaded and idle."""
    waiting: frozenset[str] = frozenset()
    """Adapters of the requests in the queue; vLLM 0.32 lists the same ones as in `running`."""
    most: int = 0
    """How many can be in one batch (`max_lora`); 0: not known, or none can."""
    model: str = ""
    """The base model's served name (vLLM's label `model_name`), to tell its requests from those for an adapter."""


class Fetch(msgspec.Struct, frozen=True):
    """One place from which candidates could fetch KV cache of the prompt's beginning instead of computing it."""

    tokens: Column
    """Leading tokens that each could have from there, at four bytes each; 0 where it cannot. Shape: [candidates]."""
    latency_seconds: float
    seconds_per_token: float
    tier: str
    """What kind of memory it is in (`cpu`, `disk`, `remote`, ...)."""
    peer: str = ""
    """`ip:port` of the endpoint that has to be named to the one that fetches; empty: engines find it by themselves."""


class Facts(msgspec.Struct, frozen=True):
    """Facts for one pick. Columns are shared with their owners: read them before the next await, never write."""

    waiting: Column
    """Requests queued in the engine, scraped (vLLM `num_requests_waiting`)."""
    running: Column
    """Requests in the engine's batch, scraped (vLLM `num_requests_running`)."""
    kv_usage: Column
    """Share of KV memory in use, 0 to 1, scraped (vLLM `kv_cache_usage_perc`)."""
    inflight: Column
    """Requests this picker sent there that have not ended: exact and current, unlike the scraped columns."""
    matched_tokens: Column
    """Leading tokens of the prompt believed to be in the endpoint's prefix cache, at four bytes each, by all that is known."""
    blocks: Sequence[int] = ()
    """Chained hashes of the prompt's full blocks, which grow with depth: count tokens, not blocks."""
    prefix_tokens: int = 0
    """Tokens of all *blocks*, at four bytes each: the most that can match."""
    matched_by: NDArray[np.str_] = ALL_APPROXIMATE
    """By what most of each match is known: `EXACT`, `SPECULATIVE`, `APPROXIMATE`, or "" where nothing matches. Empty: all are approximate."""
    inflight_tokens: Column = NO_COLUMN
    """Prompt tokens of the requests in flight that were believed uncached when they were sent (upstream's `InFlightLoad`)."""
    endpoints: tuple[Endpoint, ...] = ()
    """The candidates themselves, for plugins that look at labels or go by identity."""
    adapters: NDArray[np.object_] = _NO_ADAPTERS
    """Shape: [candidates] of `Adapters`; empty when no engine of the pool speaks of adapters."""
    matched_media: Column = NO_COLUMN
    """Size of the request's media whose embeddings are believed to be in the endpoint's encoder cache (upstream's
    `EncoderCacheMatchInfo`); empty when nothing keeps book of them. Unit: tokens of the placeholder."""
    media_size: int = 0
    """Size of all media of the request: the most that can match."""
    prefixes: Mapping[str, tuple[Column, int]] = {}
    """What other prefix producers say, by their names: (`matched_tokens`, `prefix_tokens`)."""
    added_tokens: Column = NO_COLUMN
    """Tokens that this request would add to `inflight_tokens` (upstream's `UncachedRequestTokens`); empty: what of its
    prompt is not matched, which is what is counted unless a producer counts otherwise."""
    known: NDArray[np.bool_] = _ALL_KNOWN
    """Which candidates' scraped columns are their own and not overdue; empty: all. The others hold the mean of the known."""
    now: float = 0.0
    """When the request is decided, in seconds on the picker's monotonic clock."""
    peer: Endpoint | None = None
    """What another profile has picked for this request, to be near to (upstream's attribute `peer-endpoint`)."""
    scalars: Mapping[str, Column] = {}
    """Other numbers by attribute key (upstream's `ScalarMetricValue`), NaN where an endpoint has none."""
    produced: Mapping[str, Any] = {}
    """What configured producers found out for this request, by `<fact>/<name of the producer>` (upstream's data keys).

    What has no entry is in the columns above, or missing: its producer was late or failed. Arrays as long as there are candidates
    are columns.
    """

    cost: Column = NO_COLUMN
    """Seconds of delay that this request would add to itself and to others (`igw.work.cost`); empty where no plugin asks for it."""
    own_cost: Column = NO_COLUMN
    """Of it, its own prefill."""
    costs: Mapping[str, Column] = {}
    """The terms of `cost`, by what the seconds are spent on."""
    fetches: tuple[Fetch, ...] = ()
    """What could be fetched of the prompt; empty where no producer looks for it."""
    fetched: NDArray[np.intp] = _NO_FETCHES
    """Which of `fetches` each candidate's cost counts on, -1 for none. Shape: [candidates]; empty where there are none or no costs."""
    fetched_tokens: Column = NO_COLUMN
    """Tokens beyond `matched_tokens` that come with it."""
    oldest_use: Column = NO_COLUMN
    """How recently the least recently used block of the endpoint's prefix cache was used: the less the colder, 0 for a cache with room.
    Counted in prompts. Empty where no plugin asks for it."""

    def knowing(self, producer: str, found: Mapping[str, Any]) -> Facts:
        """Return these facts and what the producer of that name *found*, by upstream's data types.

        `PrefixCacheMatchInfo` is (tokens, total), `EncoderCacheMatchInfo` (sizes, total); of the columns above, those of the
        default producer's name take the place, and before them `BestPrefixMatch`: then the default one's keep theirs by its name.
        """
        fields: dict[str, Any] = {}
        for key, value in found.items():
            if key == PREFIX:
                fields["prefixes"] = {**self.prefixes, **fields.get("prefixes", {}), producer: value}
                if producer == DEFAULT_PRODUCERS[PREFIX] and not len(self.matched_by):
                    fields["matched_tokens"], fields["prefix_tokens"] = value
            elif key == BEST:
                default = {DEFAULT_PRODUCERS[PREFIX]: (self.matched_tokens, self.prefix_tokens)}
                fields["prefixes"] = {**default, **self.prefixes, **fields.get("prefixes", {})}
                fields["matched_tokens"], fields["matched_by"] = value
            elif key == MEDIA:
                fields["matched_media"], fields["media_size"] = value
            elif key == FETCHES:
                fields["fetches"] = (*self.fetches, *(Fetch(*each) for each in value))
            elif key in _PRODUCED_COLUMNS:
                fields[_PRODUCED_COLUMNS[key]] = value
            else:
                fields["produced"] = {
                    **self.produced,
                    **fields.get("produced", {}),
                    f"{key}/{producer}": value,
                }
        return msgspec.structs.replace(self, **fields)

    def prefix(self, producer: str) -> tuple[Column, int]:
        """Return (`matched_tokens`, `prefix_tokens`) of the prefix producer of that name; nothing if there is none."""
        producer = producer or DEFAULT_PRODUCERS[PREFIX]
        if producer in self.prefixes:
            return self.prefixes[producer]
        if producer == DEFAULT_PRODUCERS[PREFIX]:
            return self.matched_tokens, self.prefix_tokens
        return np.zeros(len(self.inflight)), 0

    def scalar(self, key: str) -> Column:
        """Return the column of an endpoint attribute: one of `scalars`, or a core metric by upstream's name.

        NaN where it is missing, which is everywhere for a key that nobody writes.
        """
        column = self.scalars.get(key)
        if column is not None:
            return column
        if key in _CORE_METRICS:
            core: Column = getattr(self, _CORE_METRICS[key])
            return core
        return np.full(len(self.inflight), np.nan)

    def narrowed(self, keep: NDArray[np.bool_]) -> Facts:
        """Return the facts of the candidates that *keep* marks. Shape: [candidates]."""
        columns = {name: column[keep] for name in _COLUMNS if len(column := getattr(self, name)) == len(keep)}
        endpoints = tuple(compress(self.endpoints, keep.tolist()))
        if self.costs:
            columns["costs"] = {name: column[keep] for name, column in self.costs.items()}
        if self.scalars:
            columns["scalars"] = {key: column[keep] for key, column in self.scalars.items()}
        if self.prefixes:
            columns["prefixes"] = {name: (column[keep], of) for name, (column, of) in self.prefixes.items()}
        if self.fetches:
            columns["fetches"] = tuple(
                msgspec.structs.replace(each, tokens=each.tokens[keep]) for each in self.fetches
            )
        if self.produced:
            columns["produced"] = {key: _narrowed(value, keep) for key, value in self.produced.items()}
        return msgspec.structs.replace(self, endpoints=endpoints, **columns)


def _narrowed(value: Any, keep: NDArray[np.bool_]) -> Any:
    return value[keep] if isinstance(value, np.ndarray) and len(value) == len(keep) else value


_COLUMNS = (
    "waiting", "running", "kv_usage", "inflight", "matched_tokens", "matched_by", "inflight_tokens",
    "adapters", "matched_media", "added_tokens", "known", "cost", "own_cost", "oldest_use",
    "fetched", "fetched_tokens",
)  # fmt: skip
_PRODUCED_COLUMNS = {LOAD: "inflight_tokens", ADDED: "added_tokens"}
_CORE_METRICS = {
    "WaitingQueueSize": "waiting",
    "RunningRequestsSize": "running",
    "KVCacheUsagePercent": "kv_usage",
}
"""Upstream's names of what every engine reports; usage is a share from 0 to 1 in spite of its name."""
