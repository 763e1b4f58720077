"""Blocks that an endpoint will store, because a request with them was just sent there: believed until its event comes, or for a few seconds.

What engines told is in `exact`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

_MOST_KEYS = 200_000


class Expected:
    """What requests on their way will store. Each pick ends by itself, so one that ends leaves those of later picks."""

    def __init__(self, most_keys: int = _MOST_KEYS) -> None:
        self.holders: dict[int, int] = {}
        """Key -> slots, as bits."""
        self._most_keys = most_keys
        self._until: dict[tuple[int, int], float] = {}  # (slot, key) -> when its last pick ends
        self._picks: deque[tuple[float, int, Sequence[int]]] = deque()
        self._keys = 0

    def add(self, slot: int, keys: Sequence[int], until: float) -> None:
        """Expect *keys* at *slot* until then, in seconds of the caller's clock, which goes forward from call to call."""
        if not keys:
            return
        holders, ends, bit = self.holders, self._until, 1 << slot
        for key in keys:
            holders[key] = holders.get(key, 0) | bit
            ends[slot, key] = until
        self._picks.append((until, slot, keys))
        self._keys += len(keys)
        while self._keys > self._most_keys:
            self._end()

    def told(self, slot: int, keys: Iterable[int | None]) -> None:
        """Expect *keys* of *slot* no longer: its engine has told of them, and will tell when they go."""
        holders, bit = self.holders, 1 << slot
        for key in keys:
            if key is not None and holders.get(key, 0) & bit:
                self._clear(slot, key)

    def expire(self, now: float) -> None:
        """Forget what was to be stored until *now*."""
        while self._picks and self._picks[0][0] <= now:
            self._end()

    def forget(self, slot: int) -> None:
        """Expect nothing of *slot* any more."""
        for known, key in [each for each in self._until if each[0] == slot]:
            self._clear(known, key)

    def _end(self) -> None:
        until, slot, keys = self._picks.popleft()
        self._keys -= len(keys)
        for key in keys:
            if self._until.get((slot, key)) == until:
                self._clear(slot, key)

    def _clear(self, slot: int, key: int) -> None:
        del self._until[slot, key]
        left = self.holders[key] & ~(1 << slot)
        if left:
            self.holders[key] = left
        else:
            del self.holders[key]
