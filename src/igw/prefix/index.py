"""Who is believed to hold which prefix block: fed by our own picks, corrected by what answers say, bounded in memory.

One dictionary says per block which slots (endpoints) hold it, as the bits of an integer. A lookup walks the prompt's blocks and
intersects, so its cost does not depend on the size of the pool. Per slot, an LRU bounds what we believe to what the
engine can hold. Blocks are entered tail first, so that the heads, which others share, are forgotten last.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.facts import Column

DEFAULT_CAPACITY = 31_250
"""Blocks per endpoint until its engine says how much it holds (upstream's `lruCapacityPerServer`)."""

MIN_CAPACITY = 64


class PrefixStatistics(msgspec.Struct, frozen=True):
    """Size of the index: *blocks* different ones, *entries* pairs of block and endpoint."""

    blocks: int
    entries: int


class PrefixIndex:
    """Approximate prefix index over all pools. Owner of its slots; everything else reads columns."""

    def __init__(self, max_entries: int = 2_000_000) -> None:
        self._max_entries = max_entries
        self._holders: dict[int, int] = {}
        self._held: list[dict[int, None]] = []  # per slot, least recently used first
        self._nominal: list[int] = []
        self._capacity: list[int] = []
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._shared = 0  # blocks per endpoint that memory allows

    def slot(self, hostport: str) -> int:
        """Return the slot of an endpoint, giving it one if it is new."""
        slot = self._slots.get(hostport)
        if slot is None:
            if self._free:
                slot = self._free.pop()
            else:
                slot = len(self._held)
                self._held.append({})
                self._nominal.append(0)
                self._capacity.append(0)
            self._nominal[slot] = self._capacity[slot] = DEFAULT_CAPACITY
            self._slots[hostport] = slot
            self._share_memory()
        return slot

    def slot_of(self, hostport: str) -> int | None:
        """Return the slot of a known endpoint, None for any other."""
        return self._slots.get(hostport)

    def match(self, blocks: Sequence[int]) -> Column:
        """Return, by slot, how many leading *blocks* each holds without a gap. Shape: [slots]."""
        matched = np.zeros(len(self._held))
        holders = self._holders.get
        mask = -1
        depth = 0
        for block in blocks:
            now = mask & holders(block, 0)
            if now != mask:
                if depth:
                    matched[self._members(mask & ~now)] = depth
                mask = now
                if not mask:
                    return matched
            depth += 1
        if depth:
            matched[self._members(mask)] = depth
        return matched

    def record(self, slot: int, blocks: Sequence[int]) -> None:
        """Believe that *slot* will hold *blocks*; forget what no longer fits."""
        held, holders = self._held[slot], self._holders
        bit = 1 << slot
        for block in reversed(blocks):
            if block in held:
                del held[block]
            else:
                holders[block] = holders.get(block, 0) | bit
            held[block] = None
        self._trim(slot)

    def forget(self, slot: int, blocks: Sequence[int] | None = None) -> None:
        """Stop believing that *slot* holds *blocks*; without *blocks*, that it holds anything (it restarted, say)."""
        held = self._held[slot]
        for block in list(held) if blocks is None else blocks:
            if block in held:
                del held[block]
                self._release(block, 1 << slot)

    def remove(self, hostport: str) -> None:
        """Forget an endpoint that left its pool."""
        slot = self._slots.pop(hostport, None)
        if slot is not None:
            self.forget(slot)
            self._free.append(slot)
            self._share_memory()

    def resize(self, slot: int, blocks: int) -> None:
        """Set what the engine of *slot* can hold."""
        if blocks != self._nominal[slot]:
            self._nominal[slot] = max(MIN_CAPACITY, blocks)
            self._capacity[slot] = min(self._nominal[slot], self._share())
            self._trim(slot)

    def correct(self, slot: int, believed: int, actual: int) -> None:
        """Learn from an answer: *believed* blocks were said to be cached at *slot*, *actual* were.

        An engine that forgot sooner than we did holds less than its size says (long generations, other clients), so we believe
        in less of it; when beliefs come true again, the size recovers. Additive-increase, multiplicative-decrease.
        """
        if actual < believed // 2:
            believed_in = min(self._capacity[slot], len(self._held[slot]))
            self._capacity[slot] = max(MIN_CAPACITY, believed_in * 9 // 10)
            self._trim(slot)
        elif believed:
            limit = min(self._nominal[slot], self._share())
            self._capacity[slot] = min(limit, self._capacity[slot] + self._nominal[slot] // 100 + 1)

    def statistics(self) -> PrefixStatistics:
        """Return the index's size."""
        return PrefixStatistics(blocks=len(self._holders), entries=sum(len(held) for held in self._held))

    def _trim(self, slot: int) -> None:
        held, bit = self._held[slot], 1 << slot
        # All of it in one pass: finding a dictionary's first key costs a walk over all the keys deleted before it.
        for block in list(islice(held, max(0, len(held) - self._capacity[slot]))):
            del held[block]
            self._release(block, bit)

    def _release(self, block: int, bit: int) -> None:
        left = self._holders[block] & ~bit
        if left:
            self._holders[block] = left
        else:
            del self._holders[block]

    def _share(self) -> int:
        return max(MIN_CAPACITY, self._max_entries // max(1, len(self._slots)))

    def _share_memory(self) -> None:
        """Divide the memory anew among the endpoints there are: each gets what its engine holds, if its share allows."""
        share = self._share()
        if share == self._shared:
            return
        for slot in self._slots.values():
            if self._capacity[slot] > share or self._capacity[slot] == self._shared:
                self._capacity[slot] = min(self._nominal[slot], share)
                self._trim(slot)
        self._shared = share

    def _members(self, mask: int) -> NDArray[np.bool_]:
        """Return the bits of *mask* as one boolean per slot."""
        slots = len(self._held)
        size = (slots + 7) // 8
        packed = np.frombuffer((mask & ((1 << slots) - 1)).to_bytes(size, "little"), dtype=np.uint8)
        return np.unpackbits(packed, count=slots, bitorder="little").view(np.bool_)
