"""Block ids as runs: made from lists, spread out again, cut, made smaller, and new ones that nothing else has.

What the ids mean is said in `workload`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from igw.lab.workload import Runs

FRESH = 1 << 40
"""Where ids begin that no trace has: traces number their blocks from 0."""

APART = 1 << 48
"""Distance between the ids of workloads that are put together; times the parts of a block it still fits into 63 bits."""


class Fresh:
    """Gives out ids that nobody else has: text that a trace does not name."""

    def __init__(self, start: int = FRESH) -> None:
        self._next = start

    def take(self, blocks: int) -> Runs:
        """Return that many ids in one run; no run for none."""
        if blocks <= 0:
            return ()
        first = self._next
        self._next += blocks
        return ((first, blocks),)


def started(tokens: int, block_tokens: int) -> int:
    """Return how many blocks *tokens* tokens begin."""
    return -(-tokens // block_tokens)


def from_ids(ids: Iterable[int]) -> Runs:
    """Return *ids* as runs, in their order."""
    return joined((each, 1) for each in ids)


def joined(runs: Iterable[tuple[int, int]]) -> Runs:
    """Return *runs* with neighbours that continue one another made one, and empty ones left out."""
    made: list[tuple[int, int]] = []
    for first, count in runs:
        if count <= 0:
            continue
        if made and sum(made[-1]) == first:
            made[-1] = (made[-1][0], made[-1][1] + count)
        else:
            made.append((first, count))
    return tuple(made)


def size(runs: Runs) -> int:
    """Return how many blocks *runs* names."""
    return sum(count for _, count in runs)


def between(runs: Runs, start: int, stop: int) -> Runs:
    """Return blocks *start* to *stop* (left out) of *runs*; what they do not have is left out."""
    made: list[tuple[int, int]] = []
    at = 0
    for first, count in runs:
        low, high = max(start - at, 0), min(stop - at, count)
        if low < high:
            made.append((first + low, high - low))
        at += count
        if at >= stop:
            break
    return tuple(made)


def ids(runs: Runs, blocks: int, parts: int = 1) -> Iterator[int]:
    """Return the first *blocks* ids, each block of *runs* being cut into *parts*."""
    spread: list[range] = []
    for first, count in runs:
        length = min(count * parts, blocks)
        spread.append(range(first * parts, first * parts + length))
        blocks -= length
        if not blocks:
            break
    return chain.from_iterable(spread)


def finer(runs: Runs, parts: int) -> Runs:
    """Return *runs* for blocks that are *parts* times smaller."""
    return tuple((first * parts, count * parts) for first, count in runs)


def shifted(runs: Runs, by: int) -> Runs:
    """Return *runs* with *by* added to every id."""
    return tuple((first + by, count) for first, count in runs)


def common(one: Runs, other: Runs) -> int:
    """Return how many leading blocks are the same in both."""
    found = 0
    pairs, rest = list(reversed(other)), (0, 0)
    for run in one:
        first, count = run
        while count:
            if not rest[1]:
                if not pairs:
                    return found
                rest = pairs.pop()
                continue
            if first != rest[0]:
                return found
            equal = min(count, rest[1])
            found, first, count, rest = (
                found + equal,
                first + equal,
                count - equal,
                (rest[0] + equal, rest[1] - equal),
            )
    return found
