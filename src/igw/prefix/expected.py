"""Blocks that an endpoint will store, because a request with them was just sent there: believed for a few seconds, until its event comes.

What engines told is in `exact`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_MOST_KEYS = 200_000


class Expected:
    """What requests on their way will store. Each pick ends by itself, so one that ends leaves those of later picks."""

    def __init__(self, most_keys: int = _MOST_KEYS) -> None:
        self.holders: dict[int, int] = {}
        """Key -> slots, as bits."""
        self._most_keys = most_keys
        self._counts: dict[tuple[int, int], int] = {}  # (slot, key) -> further picks with it
        self._picks: deque[tuple[float, int, Sequence[int]]] = deque()
        self._keys = 0

    def add(self, slot: int, keys: Sequence[int], until: float) -> None:
        """Expect *keys* at *slot* until then, in seconds of the caller's clock, which goes forward from call to call."""
        holders, counts, bit = self.holders, self._counts, 1 << slot
        for key in keys:
            slots = holders.get(key, 0)
            if slots & bit:
                counts[slot, key] = counts.get((slot, key), 0) + 1
            else:
                holders[key] = slots | bit
        self._picks.append((until, slot, keys))
        self._keys += len(keys)
        while self._keys > self._most_keys:
            self._end()

    def expire(self, now: float) -> None:
        """Forget what was to be stored until *now*."""
        while self._picks and self._picks[0][0] <= now:
            self._end()

    def forget(self, slot: int) -> None:
        """Expect nothing of *slot* any more."""
        kept = [pick for pick in self._picks if pick[1] != slot]
        while self._picks:
            self._end()
        for until, other, keys in kept:
            self.add(other, keys, until)

    def _end(self) -> None:
        _, slot, keys = self._picks.popleft()
        self._keys -= len(keys)
        others = ~(1 << slot)
        for key in keys:
            further = self._counts.pop((slot, key), 0)
            if further > 1:
                self._counts[slot, key] = further - 1
            elif not further:
                left = self.holders[key] & others
                if left:
                    self.holders[key] = left
                else:
                    del self.holders[key]
