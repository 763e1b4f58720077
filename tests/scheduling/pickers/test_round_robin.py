"""`round-robin-picker`: everyone in turn."""

from __future__ import annotations

import numpy as np

from igw.facts import Facts
from igw.scheduling.pickers.round_robin import RoundRobinPicker

NO_FACTS = Facts(*[np.zeros(0)] * 5)


def test_everyone_gets_a_turn() -> None:
    """In pool order, from the beginning again after the last, whatever the totals."""
    picker = RoundRobinPicker()
    assert [list(picker.pick(np.array([0.0, 9.0, 1.0]), NO_FACTS)) for _ in range(4)] == [[0], [1], [2], [0]]


def test_retries_are_those_after_it() -> None:
    """More than there are is all of them, once."""
    picker = RoundRobinPicker(max_num_of_endpoints=5)
    assert [list(picker.pick(np.zeros(3), NO_FACTS)) for _ in range(2)] == [[0, 1, 2], [1, 2, 0]]
    assert list(RoundRobinPicker(max_num_of_endpoints=0).pick(np.zeros(3), NO_FACTS)) == [0]


def test_two_pickers_do_not_share_a_turn() -> None:
    """Each profile counts for itself, and goes on when the pool shrinks."""
    one, other = RoundRobinPicker(), RoundRobinPicker()
    one.pick(np.zeros(3), NO_FACTS)
    assert list(other.pick(np.zeros(3), NO_FACTS)) == [0]
    assert list(one.pick(np.zeros(1), NO_FACTS)) == [0]
