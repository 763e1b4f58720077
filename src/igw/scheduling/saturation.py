"""How full endpoints and pools are, by upstream's two measures, and who has room. What follows from it is decided by who asks."""

from __future__ import annotations

import numpy as np

from igw.facts import Column
from igw.scheduling.api import Mask


def utilization(
    waiting: Column,
    kv_usage: Column,
    queue_depth_threshold: float,
    kv_cache_util_threshold: float,
    stale: Mask | None = None,
) -> Column:
    """Return how full each endpoint is: the worse of queue and KV memory, each over its threshold. 1 is full, more is possible.

    Endpoints that *stale* marks count as full, because nobody knows (upstream `utilization-detector`).
    """
    load: Column = np.maximum(waiting / queue_depth_threshold, kv_usage / kv_cache_util_threshold)
    return load if stale is None else np.where(stale, 1.0, load)


def utilization_saturation(load: Column) -> float:
    """Return how full a pool is, the mean of its endpoints' `utilization`; 1 for a pool without endpoints."""
    return float(load.mean()) if len(load) else 1.0


def utilization_room(
    waiting: Column,
    kv_usage: Column,
    queue_depth_threshold: float,
    kv_cache_util_threshold: float,
    headroom: float = 0.0,
) -> Mask:
    """Return which endpoints are below both thresholds, each times (1 + *headroom*)."""
    burst = 1.0 + headroom
    room: Mask = (waiting < queue_depth_threshold * burst) & (kv_usage < kv_cache_util_threshold * burst)
    return room


def concurrency_saturation(
    inflight: Column, inflight_tokens: Column, max_concurrency: int, max_token_concurrency: int, mode: str
) -> float:
    """Return the share of a pool's capacity that is in flight; 1 for a pool without endpoints.

    *mode* is `requests`, `tokens`, or `hybrid` for the greater of the two (upstream `concurrency-detector`).
    """
    if not len(inflight):
        return 1.0
    shares = []
    if mode != "tokens":
        shares.append(float(inflight.mean()) / max_concurrency)
    if mode != "requests":
        shares.append(float(inflight_tokens.mean()) / max_token_concurrency)
    return max(shares)


def concurrency_room(
    inflight: Column,
    inflight_tokens: Column,
    max_concurrency: float,
    max_token_concurrency: float,
    mode: str,
) -> Mask:
    """Return which endpoints have less in flight than the limits of *mode*; a headroom is the caller's to multiply in."""
    room: Mask = np.ones(len(inflight), dtype=bool)
    if mode != "tokens":
        room &= inflight < max_concurrency
    if mode != "requests":
        room &= inflight_tokens < max_token_concurrency
    return room
