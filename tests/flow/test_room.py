"""Limits, and room for those who come later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from igw.flow.room import leaves_room, within


def test_limits_are_exact() -> None:
    """And none is none."""
    assert within(9, 1, 10)
    assert not within(10, 1, 10)
    assert within(10**12, 10**12, None)
    assert leaves_room(10**12, 10**12, None)


@given(st.integers(11, 3_000), st.integers(1, 20))
def test_however_many_are_greedy_a_newcomer_finds_room(most: int, greedy: int) -> None:
    """If all take what they get in turn, as much is left as an eighth of what each has."""
    own, index = [0] * greedy, 0
    while any(leaves_room(each, sum(own), most) and sum(own) < most for each in own):
        if leaves_room(own[index], sum(own), most) and sum(own) < most:
            own[index] += 1
        index = (index + 1) % greedy
    assert most - sum(own) >= min(own) // 8 - 1
    if most > 20 * (8 * greedy + 1):
        assert most - sum(own) >= most // (8 * greedy + 1) - 1


def test_small_queues_are_filled() -> None:
    """There is nothing to share among eight."""
    assert all(leaves_room(taken, taken, 8) for taken in range(8))
