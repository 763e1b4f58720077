"""What is told of this moment: values that are JSON for everybody who shows them. Where they come from is `state`.

Numbers of endpoints are columns in pool order, because a thousand objects would be ten times as many bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

import msgspec


class Health(IntEnum):
    """How an endpoint does, by what the picker goes by."""

    ANSWERS = 0
    SILENT = 1
    """Nothing fresh is known of it."""
    FAILING = 2
    """It refused connections, or its metrics could not be read: no candidate."""
    EJECTED = 3
    """Its requests kept failing: no candidate for a while."""
    RETURNING = 4
    """It was ejected, and is a candidate for a share of the requests."""


class Pool(msgspec.Struct, frozen=True):
    """One pool. Columns have an entry for each endpoint, in the same order."""

    key: str
    """`namespace/name`."""
    models: Sequence[str]
    """Models and adapters that its engines say they serve."""
    names: Sequence[str]
    addresses: Sequence[str]
    """`ip:port`."""
    accelerators: Sequence[str]
    """By their labels; empty where none says."""
    health: Sequence[Health]
    waiting: Sequence[float | None]
    """Requests in the engine's queue, scraped; None where nothing fresh is known."""
    running: Sequence[float | None]
    """Requests in its batch, likewise."""
    kv_usage: Sequence[float | None]
    """Share of its KV memory in use, likewise."""
    inflight: Sequence[float]
    """Requests that this picker sent there and that have not ended."""
    backlog_seconds: Sequence[float]
    """Prefill, and output other than text, promised to it and not done."""
    cached_tokens: Sequence[int]
    """Of prompts, believed to be in its prefix cache by our own picks."""
    cache_tokens: Sequence[int]
    """The most that it is believed to hold."""


class Band(msgspec.Struct, frozen=True):
    """The requests of one priority that wait."""

    priority: int
    requests: int
    size_bytes: int
    max_requests: int | None
    """None: no limit."""
    max_bytes: int | None


class Tenant(msgspec.Struct, frozen=True):
    """The requests of one fairness id that wait in one band."""

    fairness_id: str
    priority: int
    requests: int
    size_bytes: int


class Queue(msgspec.Struct, frozen=True):
    """Flow control of one pool."""

    pool: str
    saturation: float
    """How full the pool is; 1 is full."""
    requests: int
    size_bytes: int
    inflight: int
    drain_per_second: float
    """How many found places lately."""
    bands: Sequence[Band]
    """Highest priority first."""
    tenants: Sequence[Tenant]
    """Those with most requests first, and not all of many."""
    tenants_total: int
    outcomes: Mapping[str, int]
    """Since the start, by how waiting ended (`igw.flow.api.Outcome`)."""


class Quantiles(msgspec.Struct, frozen=True):
    """Of a time, in seconds. None: nothing to take it of."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Seconds(msgspec.Struct, frozen=True):
    """The last two minutes: columns with an entry for each second, the oldest first, the one that is not over left out."""

    ended: Sequence[int]
    failed: Sequence[int]
    """Of those that ended: by a server, or with a status of 400 and more."""
    refused: Sequence[int]
    """Requests that got an error of the picker's."""
    prompt_tokens: Sequence[int]
    cached_tokens: Sequence[int]
    """Of the prompts, as the engines say."""
    completion_tokens: Sequence[int]
    ttft_p50_seconds: Sequence[float | None]
    ttft_p95_seconds: Sequence[float | None]


class Traffic(msgspec.Struct, frozen=True):
    """Throughput and latency as they were lately."""

    ended_per_second: float
    """Within the last ten seconds, as all rates."""
    failed_per_second: float
    refused_per_second: float
    prompt_tokens_per_second: float
    completion_tokens_per_second: float
    cached_share: float | None
    """Of the tokens of prompts, within the last minute, as all quantiles."""
    ttft: Quantiles
    """Of streams: from the request to the first byte of its answer."""
    tpot: Quantiles
    e2e: Quantiles
    seconds: Seconds


class Overview(msgspec.Struct, frozen=True):
    """The answer of `GET /debug/overview`, and each event of its stream."""

    at: float
    """Seconds since 1970."""
    up_seconds: float
    version: str
    inflight: int
    """Requests that were sent somewhere and have not ended."""
    changes: int
    """Counts decisions, ends and refusals: as long as it is the same there is no new decision to ask for."""
    traffic: Traffic
    pools: Sequence[Pool]
    queues: Sequence[Queue]
