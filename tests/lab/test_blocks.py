"""Block ids as runs say the same as the lists they stand for."""

from __future__ import annotations

from itertools import chain, takewhile

from hypothesis import given
from hypothesis import strategies as st

from igw.lab import blocks
from igw.lab.workload import Runs

RUNS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=6).map(tuple)


def spread(runs: Runs) -> list[int]:
    """Return the ids that *runs* stand for."""
    return list(chain.from_iterable(range(first, first + count) for first, count in runs))


@given(st.lists(st.integers(0, 20), max_size=30))
def test_a_list_comes_back_from_its_runs(ids: list[int]) -> None:
    """In order, and no run could be joined with the next."""
    runs = blocks.from_ids(ids)
    assert spread(runs) == ids
    assert blocks.joined(runs) == runs
    assert blocks.size(runs) == len(ids)


@given(RUNS, st.integers(0, 40), st.integers(1, 4))
def test_ids_are_the_first_ones(runs: Runs, count: int, parts: int) -> None:
    """Also of blocks that are cut into parts."""
    whole = [each * parts + part for each in spread(runs) for part in range(parts)]
    assert list(blocks.ids(runs, count, parts)) == whole[:count]
    assert spread(blocks.finer(runs, parts)) == whole


@given(RUNS, st.integers(0, 40), st.integers(0, 40))
def test_between_is_a_slice(runs: Runs, start: int, stop: int) -> None:
    """Of the ids."""
    assert spread(blocks.between(runs, start, stop)) == spread(runs)[start:stop]


@given(RUNS, RUNS)
def test_common_counts_equal_leading_ids(one: Runs, other: Runs) -> None:
    """However they are split into runs."""
    equal = list(takewhile(lambda pair: pair[0] == pair[1], zip(spread(one), spread(other), strict=False)))
    assert blocks.common(one, other) == len(equal)
    assert blocks.common(one, blocks.joined(one)) == blocks.size(one)


def test_fresh_ids_are_nobody_elses() -> None:
    """And asking for none gives no run."""
    fresh = blocks.Fresh()
    assert fresh.take(3) == ((blocks.FRESH, 3),)
    assert fresh.take(0) == ()
    assert fresh.take(2) == ((blocks.FRESH + 3, 2),)


def test_a_started_block_counts() -> None:
    """Rounded up."""
    assert [blocks.started(tokens, 16) for tokens in (0, 1, 16, 17)] == [0, 1, 1, 2]
