"""A priority queue with a way out of the middle."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from igw.flow.heap import Heap


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())))
def test_what_was_not_removed_comes_in_order(pushed: list[tuple[int, bool]]) -> None:
    """By key, equal keys by arrival; looking does not change anything."""
    heap: Heap[int] = Heap()
    entries = [heap.push(key, number) for number, (key, _) in enumerate(pushed)]
    for entry, (_, gone) in zip(entries, pushed, strict=True):
        if gone:
            heap.remove(entry)
            heap.remove(entry)
    kept = sorted((key, number) for number, (key, gone) in enumerate(pushed) if not gone)
    assert [number for _, number in kept] == list(heap.in_order()) == list(heap.in_order())
    assert len(heap) == len(kept)
    first = heap.first()
    assert (None if first is None else first[2]) == (kept[0][1] if kept else None)
    assert not kept or heap.top() == kept[0][1]


def test_removed_values_do_not_pile_up() -> None:
    """However long one stays in front of them."""
    heap: Heap[int] = Heap()
    heap.push(0, 0)
    for number in range(1, 10_000):
        heap.remove(heap.push(number, number))
    assert len(heap) == 1
    assert len(heap._entries) < 50


def test_looking_at_a_few_of_many() -> None:
    """Costs as much as the few."""
    heap: Heap[int] = Heap()
    for number in range(1000, 0, -1):
        heap.push(number, number)
    assert list(islice(heap.in_order(), 3)) == [1, 2, 3]


def test_some_of_them_are_all_of_them_in_the_end() -> None:
    """Going on from where one stopped, without coming to one twice at a time."""
    heap: Heap[int] = Heap()
    entries = [heap.push(number, number) for number in range(10)]
    heap.remove(entries[5])
    seen = [heap.some(start, 4) for start in range(0, 12, 4)]
    assert {number for each in seen for number in each} == set(range(10)) - {5}
    assert sorted(heap.some(7, 99)) == sorted(set(range(10)) - {5})
