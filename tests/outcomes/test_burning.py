"""Error budgets by window: as if every request were remembered, to within a sixtieth, in bounded memory."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.outcomes.burning import SLOTS, WINDOWS, Burning, burn_rate

STEPS = st.lists(st.tuples(st.floats(0, 3000), st.booleans()), max_size=80)


@given(st.floats(0, 10**6), STEPS)
def test_a_window_holds_what_happened_within_it(start: float, steps: list[tuple[float, bool]]) -> None:
    """All of the last 59 slots' time, nothing older than the window."""
    burning, now, happened = Burning(start), start, []
    for pause, good in steps:
        now += pause
        burning.add(now, good=good)
        happened.append((now, good))
        for name, (goods, bads) in burning.counts(now).items():
            seconds = WINDOWS[name]
            young = [each for at, each in happened if at > now - seconds * (SLOTS - 1) / SLOTS + 1e-6]
            old = [each for at, each in happened if at > now - seconds - 1e-6]
            assert young.count(True) <= goods <= old.count(True)
            assert young.count(False) <= bads <= old.count(False)


def test_after_a_long_silence_everything_is_forgotten() -> None:
    """Longer than the longest window, or only than the shortest."""
    burning = Burning(0.0)
    burning.add(1.0, good=False)
    assert burning.counts(301.0 + 5.0)["5m"] == (0, 0)
    assert burning.counts(306.0)["1h"] == (0, 1)
    assert set(burning.counts(1e9).values()) == {(0, 0)}


def test_memory_does_not_grow_with_requests() -> None:
    """A ring of snapshots per window."""
    burning = Burning(0.0)
    for second in range(50_000):
        burning.add(float(second), good=second % 3 > 0)
    assert sum(len(window._begun) for window in burning._windows.values()) == 3 * SLOTS
    assert sys.getsizeof(burning) < 200


@pytest.mark.parametrize(
    ("good", "bad", "rate"), [(99, 1, 1.0), (100, 0, 0.0), (90, 10, 10.0), (0, 5, 100.0), (0, 0, None)]
)
def test_the_burn_rate_is_by_what_the_objective_allows(good: int, bad: int, rate: float | None) -> None:
    """99 of 100: one miss in a hundred burns at rate 1; without requests nothing burns and nothing is known."""
    assert burn_rate(good, bad, 0.99) == (None if rate is None else pytest.approx(rate))
