"""`running-requests-size-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.running_requests import RunningRequestsSizeScorer


@pytest.mark.parametrize(
    ("running", "scores"),
    [
        ([0, 5, 10], [1, 0.5, 0]),
        ([200, 256], [1, 0]),
        ([7, 7, 7], [1, 1, 1]),
        ([3], [1]),
        ([1, 9, 3], [1, 0, 0.75]),
    ],
)
def test_the_smallest_batch_scores_one_and_the_largest_nothing(
    running: list[float], scores: list[float]
) -> None:
    """(max - r) / (max - min); all equal score 1."""
    none = np.zeros(len(running))
    facts = Facts(none, np.array(running, dtype=float), none, none, none)
    assert RunningRequestsSizeScorer().score(Request(Head("/", "GET", {})), facts).tolist() == scores
