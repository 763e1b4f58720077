"""`active-request-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.active_request import ActiveRequestScorer


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
    none = np.zeros(len(inflight))
    facts = Facts(none, none, none, np.array(inflight, dtype=float), none)
    assert ActiveRequestScorer().score(Request(Head("/", "GET", {})), facts).tolist() == scores
