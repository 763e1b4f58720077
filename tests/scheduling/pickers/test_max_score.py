"""`max-score-picker`: best first, fair among equals."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.scheduling.pickers.max_score import MaxScorePicker

NO_FACTS = Facts(*[np.zeros(0)] * 5)


@pytest.mark.parametrize(
    ("totals", "count", "picked"),
    [
        ([1.0, 3.0, 2.0], 1, [1]),
        ([1.0, 3.0, 2.0], 2, [1, 2]),
        ([1.0, 3.0, 2.0], 3, [1, 2, 0]),
        ([1.0, 3.0, 2.0], 9, [1, 2, 0]),
        ([1.0, 3.0], 0, [1]),
        ([1.0, 3.0], -4, [1]),
        ([-2.0, -1.0], 2, [1, 0]),
        ([0.0], 1, [0]),
    ],
)
def test_the_best_come_first(totals: list[float], count: int, picked: list[int]) -> None:
    """As many as there are, if more are asked for; at least one, whatever is asked for."""
    assert MaxScorePicker(max_num_of_endpoints=count).pick(np.array(totals), NO_FACTS) == picked


def test_all_that_are_tied_get_their_turn() -> None:
    """Concurrent picks with equal beliefs must not gather on the first of the list; rounding does not break a tie."""
    random.seed(1)
    totals = [1.0, 0.1 + 0.2, 0.3, 1.0 - 1e-12, 1.0]
    picked = Counter(MaxScorePicker().pick(np.array(totals), NO_FACTS)[0] for _ in range(600))
    assert set(picked) == {0, 3, 4}
    assert min(picked.values()) > 150


def test_the_second_best_is_chosen_fairly_too() -> None:
    """Retries spread as picks do."""
    random.seed(2)
    picker = MaxScorePicker(max_num_of_endpoints=2)
    seconds = Counter(picker.pick(np.array([0.0, 5.0, 1.0, 1.0]), NO_FACTS)[1] for _ in range(200))
    assert set(seconds) == {2, 3}
    assert min(seconds.values()) > 60


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.integers(1, 25))
def test_picks_are_different_and_in_order(totals: list[float], count: int) -> None:
    """Law: no endpoint twice, and nobody left out is better than somebody taken."""
    picked = MaxScorePicker(max_num_of_endpoints=count).pick(np.array(totals), NO_FACTS)
    assert len(picked) == len(set(picked)) == min(count, len(totals))
    taken = [totals[index] for index in picked]
    assert all(one >= other - 1e-8 for one, other in itertools.pairwise(taken))
    assert all(totals[index] <= taken[-1] + 1e-8 for index in range(len(totals)) if index not in picked)
