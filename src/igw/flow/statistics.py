"""What an engine of flow control says of itself. Metric names are `telemetry`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from igw.flow.api import Outcome


class Fill(msgspec.Struct, frozen=True):
    """How much waits, and how much may."""

    requests: int
    size_bytes: int
    max_requests: int | None
    """None: no limit."""
    max_bytes: int | None


class Statistics(msgspec.Struct, frozen=True):
    """A picture of one moment; counts are since the start."""

    total: Fill
    bands: Mapping[int, Fill]
    """By priority; those that have nothing waiting too."""
    flows: Mapping[tuple[str, int], tuple[int, int]]
    """(fairness id, priority) -> (requests, bytes) that wait; only flows that have some."""
    inflight: int
    drain_per_second: float
    outcomes: Mapping[tuple[Outcome, int], int]
    """(outcome, priority) -> requests."""
    revocations_issued: Mapping[int, int]
    """By the priority for whose sake."""
    revocations_confirmed: int
    revocations_timed_out: int
    revocations_pending: int
    reclaim_target: float
    """How far above its ceiling the pool was when requests in flight were last weighed for giving up."""


class Standing(msgspec.Struct, frozen=True):
    """Where a request stands, to be told to its client. An estimate: by order of arrival within its flow, flows in turn."""

    position: int
    """1 is next."""
    expected_wait_seconds: float | None
    """By how fast requests find places lately; None if none did."""
