"""A tier of memory that several engines share, behind a network: whatever one of them computed, all can load. What an engine has by itself is `blocks`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class SharedTier:
    """Names of full blocks, as engines write them through; the least recently used makes room. Survives its engines."""

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._names: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many blocks there are."""
        return len(self._names)

    def store(self, names: Sequence[int]) -> None:
        """Take in blocks of one sequence; its tail goes before its head."""
        held = self._names
        for name in reversed(names):
            held[name] = None
            held.move_to_end(name)
        while len(held) > self._most:
            held.popitem(last=False)

    def lookup(self, hashes: Sequence[int], start: int, limit: int) -> int:
        """Return how many blocks of `hashes` from `start` on, up to `limit`, follow each other here."""
        held, count = self._names, 0
        for name in hashes[start:limit]:
            if name not in held:
                break
            count += 1
        return count


def shared_tier(blocks: int) -> SharedTier | None:
    """Return a tier of that many blocks; None for none."""
    return SharedTier(blocks) if blocks else None
