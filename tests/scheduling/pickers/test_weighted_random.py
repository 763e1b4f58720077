"""`weighted-random-picker`: in proportion, without putting back."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.scheduling.pickers.weighted_random import WeightedRandomPicker

NO_FACTS = Facts(*[np.zeros(0)] * 5)


def drawn(picker: WeightedRandomPicker, totals: list[float], times: int = 4000) -> Counter[tuple[int, ...]]:
    """Return how often what was drawn."""
    random.seed(3)
    return Counter(tuple(picker.pick(np.array(totals), NO_FACTS)) for _ in range(times))


def test_the_first_is_drawn_in_proportion_to_its_total() -> None:
    """Weights 1, 2, 5: 1/8, 2/8, 5/8 of 4000; three standard deviations are 63, 82 and 92."""
    counts = drawn(WeightedRandomPicker(), [1.0, 2.0, 5.0])
    assert abs(counts[0,] - 500) < 63
    assert abs(counts[1,] - 1000) < 82
    assert abs(counts[2,] - 2500) < 92


def test_the_next_is_drawn_from_what_is_left() -> None:
    """After 5 of (1, 2, 5) is gone, 2 is twice as likely as 1: pairs (2, 1) and (2, 0) are 5/8 * 2/3 and 5/8 * 1/3."""
    counts = drawn(WeightedRandomPicker(max_num_of_endpoints=2), [1.0, 2.0, 5.0])
    assert abs(counts[2, 1] - 4000 * 5 / 12) < 94
    assert abs(counts[2, 0] - 4000 * 5 / 24) < 78


def test_equal_totals_are_equally_likely_however_small() -> None:
    """U^(1/w) itself would be 0 for all of them."""
    counts = drawn(WeightedRandomPicker(), [1e-6, 1e-6, 1e-6, 1e-6])
    assert min(counts.values()) > 850


def test_weak_spot_13_a_candidate_without_a_score_is_no_fallback() -> None:
    """Upstream fills the list of retries up with them."""
    counts = drawn(WeightedRandomPicker(max_num_of_endpoints=4), [0.0, 3.0, -1.0, 1.0], 200)
    assert set(counts) == {(1, 3), (3, 1)}


def test_without_any_score_anybody_is_drawn() -> None:
    """As many as asked for, as random as can be."""
    counts = drawn(WeightedRandomPicker(max_num_of_endpoints=2), [0.0, -2.0, 0.0], 600)
    assert set(counts) == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert min(counts.values()) > 60


def test_weak_spot_13_a_low_temperature_sharpens_small_differences() -> None:
    """Totals 6.0 and 6.2 are drawn 49 to 51 by upstream; at 0.1 it is 1 to e^2."""
    assert abs(drawn(WeightedRandomPicker(), [6.0, 6.2])[1,] - 4000 * 6.2 / 12.2) < 95
    sharp = drawn(WeightedRandomPicker(temperature=0.1), [6.0, 6.2])
    assert abs(sharp[1,] - 4000 / (1 + np.exp(-2))) < 62


def test_a_temperature_is_not_below_zero() -> None:
    """It would prefer the worst."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"temperature": -1}, WeightedRandomPicker)


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=20),
    st.integers(-2, 25),
    st.sampled_from([0.0, 0.1, 5.0]),
)
def test_picks_are_different_and_worth_it(totals: list[float], count: int, temperature: float) -> None:
    """Law: nobody twice, and nobody without a score beside somebody with one."""
    picker = WeightedRandomPicker(max_num_of_endpoints=count, temperature=temperature)
    picked = picker.pick(np.array(totals), NO_FACTS)
    assert 1 <= len(picked) == len(set(picked)) <= min(max(1, count), len(totals))
    if temperature == 0.0 and max(totals) > 0:
        assert all(totals[index] > 0 for index in picked)
