"""How full endpoints and pools are, by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.scheduling.saturation import (
    concurrency_room,
    concurrency_saturation,
    utilization,
    utilization_room,
    utilization_saturation,
)


def column(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a column."""
    return np.array(values, dtype=float)


def test_an_endpoint_is_as_full_as_its_scarcer_resource() -> None:
    """max(q / 5, kv / 0.8), above 1 where it is beyond its threshold."""
    load = utilization(column(0, 5, 2, 10), column(0, 0.4, 0.8, 0), 5, 0.8)
    assert load.tolist() == pytest.approx([0, 1, 1, 2])


def test_an_endpoint_nobody_knows_counts_as_full() -> None:
    """Not as the idle one that its last values may show."""
    load = utilization(column(0, 0, 20), column(0, 0, 0), 5, 0.8, np.array([True, False, True]))
    assert load.tolist() == [1, 0, 1]


def test_a_pool_is_as_full_as_its_endpoints_on_average() -> None:
    """A pool of none is full."""
    assert utilization_saturation(column(0, 1, 2)) == 1.0
    assert utilization_saturation(column(0.25, 0.75)) == 0.5
    assert utilization_saturation(column()) == 1.0


def test_room_is_below_both_thresholds() -> None:
    """Strictly; a headroom lifts both."""
    waiting, usage = column(4, 5, 0, 6), column(0.5, 0.5, 0.8, 0.85)
    assert utilization_room(waiting, usage, 5, 0.8).tolist() == [True, False, False, False]
    assert utilization_room(waiting, usage, 5, 0.8, 0.25).tolist() == [True, True, True, True]


@pytest.mark.parametrize(
    ("mode", "saturation", "room"),
    [
        ("requests", 0.5, [True, False, True]),
        ("tokens", 0.6, [True, True, False]),
        ("hybrid", 0.6, [True, False, False]),
    ],
)
def test_concurrency_counts_requests_tokens_or_both(mode: str, saturation: float, room: list[bool]) -> None:
    """In flight over capacity, of the pool; below the limit, of an endpoint; the stricter of the two."""
    inflight, tokens = column(0, 10, 5), column(300, 500, 1000)
    assert concurrency_saturation(inflight, tokens, 10, 1000, mode) == pytest.approx(saturation)
    assert concurrency_room(inflight, tokens, 10, 1000, mode).tolist() == room


def test_a_pool_of_nobody_has_no_capacity() -> None:
    """So it is full."""
    assert concurrency_saturation(column(), column(), 10, 1000, "hybrid") == 1.0
