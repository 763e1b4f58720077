"""`load-aware-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.load_aware import LoadAwareScorer


def scored(scorer: LoadAwareScorer, waiting: list[float]) -> list[float]:
    """Return the scores of endpoints with these queues."""
    none = np.zeros(len(waiting))
    facts = Facts(np.array(waiting, dtype=float), none, none, none, none)
    return scorer.score(Request(Head("/", "GET", {})), facts).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("threshold", "waiting", "scores"),
    [
        (128, [0, 32, 64, 128, 500], [0.5, 0.375, 0.25, 0, 0]),
        (10, [0, 1, 5, 9, 10], [0.5, 0.45, 0.25, 0.05, 0]),
        (1, [0, 0.5, 1], [0.5, 0.25, 0]),
        (0, [64], [0.25]),
        (-7, [64], [0.25]),
    ],
)
def test_an_empty_queue_is_worth_a_half_and_the_threshold_nothing(
    threshold: int, waiting: list[float], scores: list[float]
) -> None:
    """0.5 * (1 - min(q, T) / T); a threshold that is not above 0 is the default."""
    assert scored(LoadAwareScorer(threshold=threshold), waiting) == pytest.approx(scores)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12), st.integers(1, 1000))
def test_a_longer_queue_never_scores_more(waiting: list[float], threshold: int) -> None:
    """Law: order; and nobody else's queue matters."""
    scores = scored(LoadAwareScorer(threshold=threshold), waiting)
    ranked = [score for _, score in sorted(zip(waiting, scores, strict=True), key=lambda pair: pair[0])]
    assert ranked == sorted(ranked, reverse=True)
    assert scores == [scored(LoadAwareScorer(threshold=threshold), [one])[0] for one in waiting]
