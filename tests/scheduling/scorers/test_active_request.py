"""`active-request-scorer` by table."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.active_request import ActiveRequestScorer


def scored(scorer: ActiveRequestScorer, inflight: list[float]) -> list[float]:
    """Return the scores of endpoints with so many in flight."""
    none = np.zeros(len(inflight))
    facts = Facts(none, none, none, np.array(inflight, dtype=float), none)
    return scorer.score(Request(Head("/", "GET", {})), facts).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("inflight", "scores"),
    [
        ([0, 1, 4], [1, 0.75, 0]),
        ([0, 0, 0], [1, 1, 1]),
        ([3, 3], [0, 0]),
        ([5], [0]),
        ([0], [1]),
    ],
)
def test_an_idle_endpoint_scores_one_and_the_busiest_nothing(
    inflight: list[float], scores: list[float]
) -> None:
    """(max - n) / max; nothing in flight anywhere scores 1."""
    assert scored(ActiveRequestScorer(), inflight) == scores


@pytest.mark.parametrize(
    ("idle", "most", "inflight", "scores"),
    [
        (2, 1.0, [0, 2, 3, 4], [1, 1, 0.25, 0]),
        (4, 1.0, [0, 2, 4], [1, 1, 1]),
        (0, 0.5, [0, 1, 4], [1, 0.375, 0]),
        (1, 0.5, [1, 2, 4], [1, 0.25, 0]),
        (0, 0.0, [0, 1, 4], [1, 0, 0]),
        (0, 1.5, [0, 1, 4], [1, 0.75, 0]),
        (0, -0.1, [0, 1, 4], [1, 0.75, 0]),
        (-3, 1.0, [0, 1, 4], [1, 0.75, 0]),
    ],
)
def test_a_gap_can_be_put_between_idle_and_busy_endpoints(
    idle: int, most: float, inflight: list[float], scores: list[float]
) -> None:
    """Up to `idleThreshold` 1, above it (max - n) / max * `maxBusyScore`; what is out of range is the default."""
    scorer = ActiveRequestScorer(idle_threshold=idle, max_busy_score=most)
    assert scored(scorer, inflight) == pytest.approx(scores)


def test_parameters_without_effect_are_taken() -> None:
    """Files for upstream may have them."""
    written = {"idleThreshold": 1, "requestTimeout": "2m", "inFlightLoadProducerName": "load"}
    scorer = msgspec.convert(written, ActiveRequestScorer)
    assert scored(scorer, [1, 2, 4]) == [1, 0.5, 0]


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=12),
    st.integers(0, 20),
    st.floats(0, 1),
)
def test_more_in_flight_never_scores_more(inflight: list[int], idle: int, most: float) -> None:
    """Law: order, whatever the parameters."""
    scores = scored(ActiveRequestScorer(idle_threshold=idle, max_busy_score=most), list(map(float, inflight)))
    ranked = [score for _, score in sorted(zip(inflight, scores, strict=True), key=lambda pair: pair[0])]
    assert ranked == sorted(ranked, reverse=True)
