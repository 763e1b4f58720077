"""How much one priority wanted at once lately."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from igw.flow.demand import Demand


def test_the_most_at_once_is_remembered_for_a_window() -> None:
    """For half of it at least, for all of it at most."""
    demand = Demand(30.0)
    demand.note(4, 100.0)
    demand.note(1, 105.0)
    assert demand.most(105.0) == 4
    assert demand.most(119.0) == 4
    assert demand.most(136.0) == 1


def test_who_runs_all_the_time_is_not_forgotten() -> None:
    """Nothing has to happen for that."""
    demand = Demand(30.0)
    demand.note(4, 0.0)
    assert demand.most(1000.0) == 4
    demand.note(3, 1001.0)
    assert demand.most(1002.0) == 4


def test_ends_that_are_told_late_count_nobody_twice() -> None:
    """Four go and four come, and for a twentieth of a second it looks like eight."""
    demand = Demand(30.0)
    demand.note(4, 0.0)
    for turn in range(1, 10):
        for n in range(4):
            demand.note(5 + n, turn + 0.001 * n)
        for n in range(4):
            demand.note(7 - n, turn + 0.05 + 0.001 * n)
        assert demand.most(turn + 0.06) == 4
    demand.note(8, 11.0)
    assert demand.most(11.05) == 4
    assert demand.most(11.2) == 8


@given(
    st.lists(st.tuples(st.floats(0.001, 0.2), st.integers(0, 9)), min_size=1, max_size=40),
    st.floats(0.001, 0.2),
)
def test_what_lasts_is_found_and_nothing_else(changes: list[tuple[float, int]], after: float) -> None:
    """Against the definition: the greatest of the least of each tenth of a second, so far."""
    demand, now, levels = Demand(1e9), 0.0, [(0.0, 0)]
    for wait, level in changes:
        now += wait
        demand.note(level, now)
        levels.append((now, level))
    now += after

    def least(until: float) -> int:
        ends = [begun for begun, _ in levels[1:]] + [float("inf")]
        spans = zip(levels, ends, strict=True)
        return min(level for (begun, level), end in spans if begun < until and end > until - 0.1)

    # Where it may be greatest: when a level ends, or now.
    moments = [begun for begun, _ in levels[1:] if begun > 0.0] + [now]
    assert demand.most(now) == max([0, *(least(each) for each in moments if each > 0.0)])
