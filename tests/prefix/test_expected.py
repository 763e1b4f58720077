"""What is expected for a few seconds: bounds, and what one pick's end leaves of another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from igw.prefix.expected import Expected

PICKS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 5), unique=True), st.integers(0, 2)), max_size=12
)


@given(PICKS, st.integers(0, 30), st.integers(0, 3))
def test_it_is_the_union_of_the_picks_that_have_not_ended(
    picks: list[tuple[int, list[int], int]], now: int, gone: int
) -> None:
    """Law: whatever the order, and whoever leaves."""
    expected, until = Expected(), 0
    alive: list[tuple[int, int, list[int]]] = []
    for slot, keys, pause in picks:
        until += pause
        expected.add(slot, keys, float(until))
        alive.append((until, slot, keys))
    expected.expire(float(now))
    expected.forget(gone)
    wanted: dict[int, int] = {}
    for end, slot, keys in alive:
        if end > now and slot != gone:
            for key in keys:
                wanted[key] = wanted.get(key, 0) | 1 << slot
    assert expected.holders == wanted


def test_it_is_bounded() -> None:
    """The oldest picks end early when there are too many keys."""
    expected = Expected(most_keys=10)
    for number in range(5):
        expected.add(number, range(number * 4, number * 4 + 4), 100.0)
    assert sorted(expected.holders) == list(range(12, 20))
    for _ in range(5):  # all of it is held there: nothing is to come
        expected.add(0, (), 1e9)
    assert len(expected._picks) == 2
