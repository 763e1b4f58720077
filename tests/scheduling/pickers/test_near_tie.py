"""`near-tie-picker`: equals within a tenth, the coldest cache of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.scheduling.pickers.near_tie import NearTiePicker


def pick(totals: list[float], oldest_use: list[float], **parameters: float) -> list[int]:
    """Return what is picked among caches that were used last at *oldest_use*."""
    facts = Facts(*[np.zeros(len(totals))] * 5, oldest_use=np.array(oldest_use))
    picker = NearTiePicker(**parameters)  # type: ignore[arg-type]
    return list(picker.pick(np.array(totals), facts))


@pytest.mark.parametrize(
    ("totals", "oldest_use", "first"),
    [
        ([1.0, 0.5, 0.4], [9.0, 1.0, 1.0], 0),  # nobody is near the best
        ([1.0, 0.95, 0.4], [9.0, 7.0, 1.0], 1),  # 0.95 is near: its cache is colder
        ([0.92, 1.0, 0.90], [7.0, 9.0, 1.0], 0),  # 1/1.1 = 0.909 is the border
        ([0.95, 1.0, 0.97], [5.0, 3.0, 0.0], 2),  # a cache with room comes first
        ([2.0, 1.9, 1.0], [3.0, 2.0, 1.0], 1),  # relative to the best, whatever the weights
        ([-1.0, -1.05, -2.0], [3.0, 2.0, 1.0], 1),  # also below zero
    ],
)
def test_the_coldest_of_near_ties_is_taken(totals: list[float], oldest_use: list[float], first: int) -> None:
    """First those with room, then the one whose least recently used block was used longest ago."""
    assert pick(totals, oldest_use)[0] == first


def test_equally_cold_ones_are_drawn() -> None:
    """And nobody else."""
    firsts = Counter(pick([1.0, 0.99, 0.98, 0.2], [4.0, 2.0, 2.0, 2.0])[0] for _ in range(200))
    assert set(firsts) == {1, 2}
    assert min(firsts.values()) > 50


def test_how_near_is_a_parameter() -> None:
    """0 leaves exact ties only."""
    assert pick([1.0, 0.95], [9.0, 1.0], near_tie=0.0) == [0]
    assert pick([1.0, 0.6], [9.0, 1.0], near_tie=1.0) == [1]


def test_retries_go_to_the_next_best_totals() -> None:
    """Not to the next coldest: there was no time to warm up a cache."""
    assert pick([1.0, 0.95, 0.5, 0.6], [9.0, 1.0, 0.0, 5.0], max_num_of_endpoints=3) == [1, 0, 3]


def test_without_ages_near_ties_are_drawn() -> None:
    """Where nobody asked the index."""
    assert {pick([1.0, 0.99], [])[0] for _ in range(60)} == {0, 1}


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 5)), min_size=1, max_size=12), st.floats(0, 1))
def test_nobody_colder_and_as_good_is_passed_over(
    candidates: list[tuple[float, int]], near_tie: float
) -> None:
    """Law: the pick is near the best, and nobody at least as good as the border is colder."""
    totals = [total for total, _ in candidates]
    ages = [float(age) for _, age in candidates]
    first = pick(totals, ages, near_tie=near_tie)[0]
    border = max(totals) / (1 + near_tie)
    assert totals[first] >= border * (1 - 1e-9)
    colder = [index for index, age in enumerate(ages) if age < ages[first]]
    assert all(totals[index] <= border * (1 + 1e-9) for index in colder)
