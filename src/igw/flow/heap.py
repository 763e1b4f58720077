"""A priority queue whose entries can be taken out of the middle. What is queued and why is not here."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Entry: TypeAlias = list[Any]
"""`[key, number, value]`; the value is None once it was removed."""


class Heap(Generic[T]):
    """Least key first, equal keys in the order they came. O(log n), removal O(1) amortised.

    Removed values are let go at once; of their entries at most as many are kept as there are live ones, and 16.
    """

    __slots__ = ("_dead", "_entries", "_number")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._dead = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries) - self._dead

    def push(self, key: Any, value: T, number: int | None = None) -> Entry:
        """Add *value* and return its entry; *number* decides among equal keys, by default the order of the pushes."""
        if number is None:
            number = self._number = self._number + 1
        entry: Entry = [key, number, value]
        heapq.heappush(self._entries, entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Take *entry* out; nothing happens if it is out already."""
        if entry[2] is None:
            return
        entry[2] = None
        self._dead += 1
        entries = self._entries
        while entries and entries[0][2] is None:
            heapq.heappop(entries)
            self._dead -= 1
        if self._dead > 16 and self._dead * 2 > len(entries):
            self._entries = [each for each in entries if each[2] is not None]
            heapq.heapify(self._entries)
            self._dead = 0

    def first(self) -> Entry | None:
        """Return the entry with the least key, which stays; None if there is none."""
        # A dead entry never stays on top: `remove` sees to it.
        return self._entries[0] if self._entries else None

    def top(self) -> T:
        """Return the value with the least key; `IndexError` if there is none."""
        value: T = self._entries[0][2]
        return value

    def some(self, start: int, count: int) -> list[T]:
        """Return up to *count* values from anywhere; going on from *start*, all are come to in the end."""
        entries = self._entries
        start %= len(entries)
        some = entries[start : start + count]
        some += entries[: min(start, count - len(some))]
        return [each[2] for each in some if each[2] is not None]

    def in_order(self) -> Iterator[T]:
        """Yield the values, least key first, as far as somebody asks: k of them cost O(k log k). Not to be changed meanwhile."""
        entries = self._entries
        ahead = [(entries[0], 0)] if entries else []
        while ahead:
            entry, index = heapq.heappop(ahead)
            if entry[2] is not None:
                yield entry[2]
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(entries):
                    heapq.heappush(ahead, (entries[child], child))
