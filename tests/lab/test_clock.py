"""Virtual time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from igw.lab.clock import VirtualClock


def drained(clock: VirtualClock) -> None:
    while clock.advance(math.inf):
        pass


@given(st.lists(st.integers(0, 5)))
def test_callbacks_run_in_order_of_time_then_of_planning(times: list[int]) -> None:
    """Ties are no matter of chance."""
    clock, seen = VirtualClock(), []
    for number, time in enumerate(times):
        clock.at(time, lambda number=number: seen.append((clock.now, number)))
    drained(clock)
    assert seen == sorted((float(time), number) for number, time in enumerate(times))


def test_the_past_is_now() -> None:
    """Time never goes back."""
    clock, seen = VirtualClock(), []
    clock.at(2.0, lambda: clock.at(1.0, lambda: seen.append(clock.now)))
    drained(clock)
    assert seen == [2.0]


def test_after_counts_from_now_and_passes_arguments() -> None:
    """What is planned may be a function with arguments."""
    clock, seen = VirtualClock(), []
    clock.at(2.0, clock.after, 0.5, lambda *what: seen.append((clock(), what)), "a", 1)
    drained(clock)
    assert seen == [(2.5, ("a", 1))]


def test_nothing_happens_beyond_the_limit() -> None:
    """The clock stays where the last callback left it."""
    clock, seen = VirtualClock(), []
    clock.at(1.0, seen.append, 1)
    clock.at(2.0, seen.append, 2)
    assert clock.advance(1.5)
    assert not clock.advance(1.5)
    assert (seen, clock.now) == ([1], 1.0)
