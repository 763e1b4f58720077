"""`probabilistic-admitter`: who is turned away, and how often."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from igw.errors import Shed
from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.admitters.probabilistic import ProbabilisticAdmitter


def shed(
    admitter: ProbabilisticAdmitter, waiting: list[float], usage: list[float], priority: int = -1
) -> int:
    """Return how many of a thousand requests are turned away."""
    random.seed(5)
    none = np.zeros(len(waiting))
    facts = Facts(np.array(waiting, dtype=float), none, np.array(usage, dtype=float), none, none)
    request, count = Request(Head("/", "GET", {}), priority=priority), 0
    for _ in range(1000):
        try:
            admitter.admit(request, facts)
        except Shed:
            count += 1
    return count


@pytest.mark.parametrize("priority", [0, 1, 100])
def test_only_a_priority_below_zero_is_ever_shed(priority: int) -> None:
    """However full the pool is."""
    assert shed(ProbabilisticAdmitter(), [99, 99], [1, 1], priority) == 0


@pytest.mark.parametrize(
    ("waiting", "usage", "probability"),
    [
        ([0, 0], [0, 0], 0.0),
        ([5, 5], [0, 0], 1.0),
        ([1, 1], [0, 0], 0.2**5 * 300),
        ([0, 0], [0.16, 0.16], 0.2**5 * 300),
        ([2, 0], [0, 0], 0.2**5 * 300),
        ([1, 0], [0.08, 0.24], 0.25**5 * 300),
        ([2, 2], [0, 0], 1.0),
    ],
)
def test_the_share_that_is_shed_follows_the_formula(
    waiting: list[float], usage: list[float], probability: float
) -> None:
    """min(saturation^5 * 300, 1), saturation the mean of max(q / 5, kv / 0.8)."""
    assert shed(ProbabilisticAdmitter(), waiting, usage) == pytest.approx(1000 * probability, abs=45)


def test_the_curve_is_a_parameter() -> None:
    """Saturation 0.5 at power 1 and k 1 sheds half."""
    admitter = msgspec.convert(
        {"queueDepthThreshold": 10, "kvCacheUtilThreshold": 0.5, "power": 1, "k": 1}, ProbabilisticAdmitter
    )
    assert shed(admitter, [5], [0.0]) == pytest.approx(500, abs=48)
    assert shed(admitter, [0], [0.25]) == pytest.approx(500, abs=48)


def test_weak_spot_52_a_request_that_is_shed_gets_429() -> None:
    """Upstream answers 500, at which clients try again and people are woken."""
    assert (Shed.status, Shed.reason) == (429, "rejected-saturated")
    assert Shed("full").retry_after_seconds == 1


@pytest.mark.parametrize("name", ["queueDepthThreshold", "kvCacheUtilThreshold", "power", "k"])
def test_a_parameter_that_is_not_above_zero_is_an_error(name: str) -> None:
    """It would divide by nothing, or shed nothing for ever."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({name: 0}, ProbabilisticAdmitter)
