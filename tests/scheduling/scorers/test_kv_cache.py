"""`kv-cache-utilization-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.kv_cache import KvCacheUtilizationScorer


@pytest.mark.parametrize(("usage", "scores"), [([0, 0.25, 1], [1, 0.75, 0]), ([0.5], [0.5])])
def test_free_memory_is_the_score(usage: list[float], scores: list[float]) -> None:
    """1 - usage, whatever the others use."""
    none = np.zeros(len(usage))
    facts = Facts(none, none, np.array(usage, dtype=float), none, none)
    assert KvCacheUtilizationScorer().score(Request(Head("/", "GET", {})), facts).tolist() == scores
    assert facts.kv_usage.tolist() == usage
