"""How much of one prompt each endpoint holds, and where that is known from. Who knows it is `exact` and `index`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.prefix.events import TIERS

EXPECTED = "expected"
SOURCES = (*TIERS, EXPECTED)
"""Where a hit is known from: an engine told that it is in a tier; a request with it was just sent there."""

CREDITS: Mapping[str, float] = {
    "gpu": 1.0,
    "cpu": 0.8,
    "disk": 0.5,
    "remote": 0.5,
    EXPECTED: 1.0,
}
"""What a token is worth that is there instead of in GPU memory. The first two are upstream's, the others ours."""

_FEW = 16
_AT_ONCE = 64


class Held(msgspec.Struct, frozen=True):
    """Leading tokens of one prompt, without a gap. Shape of every column: [endpoints] (by slot, or by row where that is said)."""

    tokens: Column
    sources: Mapping[str, Column]
    """Of them, by where that is known from; those with any. Their sum is `tokens`."""

    def credited(self, worth: Mapping[str, float]) -> Column:
        """Return the tokens, each counted as much as its source is worth; 1 where *worth* does not say."""
        column = np.zeros(len(self.tokens))
        for source, tokens in self.sources.items():
            column += tokens * worth.get(source, 1.0)
        return column

    def at(self, rows: NDArray[np.intp]) -> Held:
        """Return the same for the slots *rows*; -1 stands for an endpoint that has none and holds nothing."""
        known = rows >= 0

        def column(of: Column) -> Column:
            return np.where(known, of[np.where(known, rows, 0)], 0.0) if len(of) else np.zeros(len(rows))

        return Held(column(self.tokens), {source: column(each) for source, each in self.sources.items()})


Run: TypeAlias = tuple[int, int, int, int]
"""A source below the first, as its number; slots, as bits; the first block and the one after the last that they hold there."""


def slots_of(mask: int) -> list[int]:
    """Return the bits of *mask*, which are slots."""
    if mask.bit_count() <= _FEW:
        slots = []
        while mask:
            slots.append(mask.bit_length() - 1)
            mask ^= 1 << slots[-1]
        return slots
    packed = np.frombuffer(mask.to_bytes((mask.bit_length() + 7) // 8, "little"), dtype=np.uint8)
    found: list[int] = np.flatnonzero(np.unpackbits(packed, bitorder="little")).tolist()
    return found


def matched(
    keys: Sequence[int],
    holders: Mapping[int, int],
    lower: Sequence[tuple[int, Mapping[int, int]]],
    slots: int,
) -> tuple[Column, list[Run]]:
    """Return how many leading *keys* each slot holds without a gap, and which of them not in the first source. Shape: [slots].

    *holders* is the first source, *lower* the others by number, the best first; they are asked only for slots that the first one lacks.
    """
    walk = _Walk(slots, [(number, each.get) for number, each in lower if each])
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        found = _found(part, holders)
        # Mostly a prompt's blocks have the same holders as far as any: then nothing has to be done for each.
        if found.count(walk.mask) != len(part) and not walk.on(start, part, found):
            return walk.depths, walk.runs
    walk.depths[slots_of(walk.mask)] = len(keys)
    return walk.depths, walk.runs


def _found(keys: Sequence[int], holders: Mapping[int, int]) -> Sequence[int | None]:
    """Return what *holders* has for each of *keys*, None for nothing."""
    if len(keys) > 1:
        # Mostly it has all of them or not even the first: one call for all is quicker than one for each.
        with contextlib.suppress(KeyError):
            found: tuple[int, ...] = itemgetter(*keys)(holders)
            return found
    return list(map(holders.get, keys))


class _Walk:
    """How far the slots have got."""

    __slots__ = ("_last", "_lower", "depths", "mask", "runs")

    def __init__(self, slots: int, lower: Sequence[tuple[int, Callable[[int, int], int]]]) -> None:
        self._lower = lower
        self._last: dict[int, int] = {}  # source -> its last run
        self.depths: Column = np.zeros(slots)
        self.runs: list[Run] = []
        self.mask = (1 << slots) - 1

    def on(self, start: int, keys: Sequence[int], found: Sequence[int | None]) -> bool:
        """Go on with *keys*, of which the first source has *found*; return whether any slot is left."""
        mask = self.mask
        for depth, holding in enumerate(found, start):
            if holding == mask:
                continue
            now = mask & holding if holding is not None else 0
            if now == mask:
                continue
            for number, get in self._lower:
                kept = (mask ^ now) & get(keys[depth - start], 0)
                if kept:
                    now |= kept
                    self._run(number, kept, depth)
            if now != mask:
                self.depths[slots_of(mask ^ now)] = depth
                # The very integer that the dictionary has: comparing it to itself is quick.
                self.mask = mask = holding if holding is not None and now == holding else now
                if not mask:
                    return False
        return True

    def _run(self, number: int, kept: int, depth: int) -> None:
        at, runs = self._last.get(number), self.runs
        if at is not None and runs[at][1] == kept and runs[at][3] == depth:
            runs[at] = (number, kept, runs[at][2], depth + 1)
        else:
            self._last[number] = len(runs)
            runs.append((number, kept, depth, depth + 1))
