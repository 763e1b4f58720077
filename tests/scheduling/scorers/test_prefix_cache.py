"""`prefix-cache-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer


@pytest.mark.parametrize(
    ("matched", "tokens", "scores"),
    [
        ([0, 128, 256], 256, [0, 0.5, 1]),
        ([64], 128, [0.5]),
        ([0, 0], 0, [0, 0]),
    ],
)
def test_the_score_is_the_share_of_the_prompt_that_is_cached(
    matched: list[float], tokens: int, scores: list[float]
) -> None:
    """Matched / total tokens, however many blocks they are; a prompt without a full block prefers nobody."""
    none = np.zeros(len(matched))
    facts = Facts(none, none, none, none, np.array(matched, dtype=float), range(3), tokens)
    assert PrefixCacheScorer().score(Request(Head("/", "GET", {})), facts).tolist() == scores
