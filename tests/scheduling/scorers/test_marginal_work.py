"""`marginal-work-scorer`: costs in seconds become scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.marginal_work import MarginalWorkScorer

REQUEST = Request(Head("/", "POST", {}))


def scores(cost: list[float], own: list[float]) -> list[float]:
    """Return the scores of candidates with these costs and own costs."""
    facts = Facts(*[np.zeros(len(cost))] * 5, cost=np.array(cost), own_cost=np.array(own))
    return MarginalWorkScorer().score(REQUEST, facts).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("cost", "own", "expected"),
    [
        ([1.0, 1.0], [0.2, 0.2], [1.0, 1.0]),
        ([1.0, 1.2], [0.2, 0.2], [1.0, 1 / 2]),  # one prefill worse
        ([1.4, 1.0], [9.0, 0.2], [1 / 3, 1.0]),  # two prefills of the best worse
        ([1.02, 1.0], [0.2, 0.2], [1 / 1.1, 1.0]),  # a tenth: a near tie
        ([0.001, 0.002], [0.0, 0.0], [1.0, 1 / 2]),  # no prefill counts as a millisecond
        ([3.0], [1.0], [1.0]),
    ],
)
def test_half_a_score_is_one_own_prefill_worse(
    cost: list[float], own: list[float], expected: list[float]
) -> None:
    """1 / (1 + difference / own cost of the best)."""
    assert scores(cost, own) == pytest.approx(expected)


def test_without_costs_everybody_is_equal() -> None:
    """Where nothing works them out."""
    assert MarginalWorkScorer().score(REQUEST, Facts(*[np.zeros(3)] * 5)).tolist() == [1, 1, 1]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=12))
def test_less_cost_is_never_a_lower_score(candidates: list[tuple[float, float]]) -> None:
    """In range, the best is 1, and the order is that of the costs."""
    cost = [each for each, _ in candidates]
    found = scores(cost, [own for _, own in candidates])
    assert all(0 < score <= 1 for score in found)
    assert found[int(np.argmin(cost))] == 1
    order = np.argsort(cost, kind="stable")
    assert (np.diff(np.array(found)[order]) <= 1e-12).all()
