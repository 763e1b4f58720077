"""`random-picker`: whoever, but never the same twice."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from igw.facts import Facts
from igw.scheduling.pickers.random_order import RandomPicker

NO_FACTS = Facts(*[np.zeros(0)] * 5)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (9, 4), (0, 1), (-1, 1)])
def test_as_many_different_ones_as_there_are(count: int, expected: int) -> None:
    """At least one, at most all."""
    picked = RandomPicker(max_num_of_endpoints=count).pick(np.zeros(4), NO_FACTS)
    assert len(picked) == len(set(picked)) == expected


def test_totals_do_not_matter() -> None:
    """Every candidate is picked about as often."""
    random.seed(3)
    picked = Counter(RandomPicker().pick(np.array([0.0, 100.0, -5.0]), NO_FACTS)[0] for _ in range(600))
    assert set(picked) == {0, 1, 2}
    assert min(picked.values()) > 150
