"""`queue-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.queue import QueueScorer


@pytest.mark.parametrize(
    ("waiting", "scores"),
    [
        ([0, 5, 10], [1, 0.5, 0]),
        ([2, 4], [1, 0]),
        ([7, 7, 7], [1, 1, 1]),
        ([0], [1]),
        ([0.5, 1.0, 0.75], [1, 0, 0.5]),
    ],
)
def test_the_shortest_queue_scores_one_and_the_longest_nothing(
    waiting: list[float], scores: list[float]
) -> None:
    """(max - q) / (max - min); all equal score 1."""
    none = np.zeros(len(waiting))
    facts = Facts(np.array(waiting, dtype=float), none, none, none, none)
    assert QueueScorer().score(Request(Head("/", "GET", {})), facts).tolist() == scores
