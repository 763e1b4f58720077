"""Limits learnt from how long things take."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from igw.flow.concurrency import ConcurrencyLimit


def driven(capacity: float, steps: int = 20_000, noise: float = 0.2) -> ConcurrencyLimit:
    """Return a limit after a server that serves *capacity* at once was kept as full as the limit allowed."""
    limit, number = ConcurrencyLimit(), random.Random(1)
    for _ in range(steps):
        inflight = int(limit.limit)
        limit.observe(max(1.0, inflight / capacity) * number.uniform(1 - noise, 1 + noise), inflight)
    return limit


def test_the_limit_finds_what_a_server_bears() -> None:
    """Within the tolerance: up to twice the time is taken for uncongested."""
    for capacity in (10, 64, 500):
        assert capacity * 0.8 <= driven(capacity).limit <= capacity * 2.8


def test_a_limit_that_nobody_reaches_does_not_grow() -> None:
    """Little traffic says nothing about much."""
    limit = ConcurrencyLimit()
    for _ in range(1000):
        limit.observe(1.0, 3)
    assert limit.limit == ConcurrencyLimit.START


def test_a_server_that_gets_slower_gets_less() -> None:
    """From what was in flight, not from a limit far above."""
    limit = driven(500)
    before = limit.limit
    for _ in range(40_000):
        limit.observe(max(1.0, int(limit.limit) / 20), int(limit.limit))
    assert limit.limit < before / 4


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(0, 10**6)), max_size=300))
def test_limits_stay_between_bounds(samples: list[tuple[float, int]]) -> None:
    """Whatever is measured."""
    limit = ConcurrencyLimit()
    for slowness, inflight in samples:
        limit.observe(slowness, inflight)
        assert ConcurrencyLimit.LEAST <= limit.limit <= ConcurrencyLimit.MOST
