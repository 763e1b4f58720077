"""How fast the queue moves."""

from __future__ import annotations

import pytest

from igw.flow.drain_rate import DrainRate


def test_a_steady_rate_is_learnt() -> None:
    """And forgotten when nothing goes any more."""
    rate = DrainRate()
    for number in range(1000):
        rate.count(number / 10)
    assert rate.per_second(100.0) == pytest.approx(10, rel=0.02)
    assert rate.wait_seconds(50, 100.0) == pytest.approx(5, rel=0.02)
    assert rate.retry_after_seconds(52, 100.0) == 6
    assert rate.retry_after_seconds(0, 100.0) == 1
    assert rate.retry_after_seconds(100_000, 100.0) == 60
    assert rate.per_second(200.0) < 0.01
    assert rate.retry_after_seconds(1, 300.0) == 60


def test_nothing_is_known_before_anything_went() -> None:
    """Not even a guess. Whoever has to come back is not asked to try at once."""
    assert DrainRate().wait_seconds(3, 0.0) is None
    assert DrainRate().retry_after_seconds(3, 0.0) == 60
