"""Who is believed to hold which prefix block: fed by our own picks, corrected by what answers say, bounded in memory.

One dictionary says per block which slots (endpoints) hold it, as the bits of an integer. A lookup walks the prompt's blocks and
intersects, so its cost does not depend on the size of the pool. Per slot, an LRU bounds what we believe, in tokens, to what the
engine can hold. Blocks are entered tail first, so that the heads, which others share, are forgotten last.

How cold a cache is, is how long ago its least recently used block was used. That is known from marks that stand between the blocks of
the LRU and move with them: when one comes to the front and is dropped, all that is left was used after it was set.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.prefix.hashing import BLOCK_TOKENS, MAX_BLOCKS

DEFAULT_CAPACITY_TOKENS = 31_250 * 64
"""Per endpoint until its engine says how much it holds (upstream's `lruCapacityPerServer`, in blocks of 64 tokens)."""

MIN_CAPACITY_TOKENS = 64 * 64

_MIN_ENTRIES = 64
_TOKENS_TAIL_FIRST = BLOCK_TOKENS[::-1]
_MARKS = 64
"""Marks per cache: its coldness is known to a 64th of what it holds."""
_LEAST_APART_TOKENS = 1024
_FEW = 16
"""So many endpoints are written one by one, at 0.1 us each; to unpack the bits of more takes 1.5 us and up."""


class PrefixStatistics(msgspec.Struct, frozen=True):
    """Size of the index: *blocks* different ones, *entries* pairs of block and endpoint."""

    blocks: int
    entries: int


class _Beliefs:
    """What one endpoint is believed to hold, and how much at most."""

    __slots__ = (
        "capacity_tokens",
        "held",
        "held_tokens",
        "marks",
        "nominal_tokens",
        "told_tokens",
        "unmarked_tokens",
    )

    def __init__(self, capacity_tokens: int) -> None:
        # Least recently used first, block -> its tokens. Not a plain dictionary: finding the first key of one costs a walk over
        # all the keys deleted before it, and the first key is what an LRU deletes. A mark is a key below 0, of no tokens.
        self.held: OrderedDict[int, int] = OrderedDict()
        self.held_tokens = self.marks = 0
        self.unmarked_tokens = 0
        """Entered since the last mark; not more than what is held has no mark, so marks are few however long we run."""
        self.nominal_tokens = self.capacity_tokens = capacity_tokens
        """What the engine is taken to hold at most, and how much of that we believe."""
        self.told_tokens: int | None = None
        """What the engine said that it can hold."""


class PrefixIndex:
    """Approximate prefix index over all pools. Owner of its slots; everything else reads columns."""

    def __init__(self, max_entries: int = 2_000_000) -> None:
        self._max_entries = max_entries
        self._share = max_entries  # entries per endpoint that memory allows
        self._holders: dict[int, int] = {}
        self._beliefs: list[_Beliefs] = []  # by slot
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._recorded = 0
        self._default_tokens = DEFAULT_CAPACITY_TOKENS
        self._follow_engines = True
        self.oldest_use: Column = np.zeros(0)
        """By slot: when the least recently used block was used last, counted in prompts over all slots; 0 for a cache with room."""

    def slot(self, hostport: str) -> int:
        """Return the slot of an endpoint, giving it one if it is new."""
        slot = self._slots.get(hostport)
        if slot is None:
            if self._free:
                slot = self._free.pop()
            else:
                slot = len(self._beliefs)
                self._beliefs.append(_Beliefs(self._default_tokens))
                self.oldest_use = np.append(self.oldest_use, 0.0)
            self._slots[hostport] = slot
            self._share_memory()
        return slot

    def slot_of(self, hostport: str) -> int | None:
        """Return the slot of a known endpoint, None for any other."""
        return self._slots.get(hostport)

    def match(self, blocks: Sequence[int]) -> NDArray[np.intp]:
        """Return, by slot, how many leading *blocks* each holds without a gap. Shape: [slots]."""
        matched = np.zeros(len(self._beliefs), dtype=np.intp)
        holders = self._holders.get
        mask = -1
        depth = 0
        for block in blocks:
            now = mask & holders(block, 0)
            if now != mask:
                if depth:
                    self._note(matched, mask & ~now, depth)
                mask = now
                if not mask:
                    return matched
            depth += 1
        if depth:
            self._note(matched, mask, depth)
        return matched

    def held_anywhere(self, blocks: Sequence[int]) -> int:
        """Return how many leading *blocks* are held by somebody, whoever it is: what one cache of all could have had."""
        holders = self._holders
        for depth, block in enumerate(blocks):
            if block not in holders:
                return depth
        return len(blocks)

    def record(self, slot: int, blocks: Sequence[int]) -> None:
        """Believe that *slot* will hold *blocks*, a prompt's from its start; forget what no longer fits.

        How many tokens a block stands for is known by its place in *blocks*: at most `MAX_BLOCKS`.
        """
        beliefs, holders = self._beliefs[slot], self._holders
        held, touch = beliefs.held, beliefs.held.move_to_end
        bit, new_tokens = 1 << slot, 0
        sizes = _TOKENS_TAIL_FIRST[MAX_BLOCKS - len(blocks) :]
        for block, tokens in zip(reversed(blocks), sizes, strict=True):
            if block in held:
                touch(block)
            else:
                held[block] = tokens
                new_tokens += tokens
                holders[block] = holders.get(block, 0) | bit
        beliefs.held_tokens += new_tokens
        self._recorded += 1
        beliefs.unmarked_tokens += new_tokens
        if beliefs.unmarked_tokens > beliefs.capacity_tokens // _MARKS + _LEAST_APART_TOKENS:
            held[-self._recorded] = beliefs.unmarked_tokens = 0
            beliefs.marks += 1
        if beliefs.held_tokens > beliefs.capacity_tokens or len(held) - beliefs.marks > self._share:
            self._trim(slot)

    def forget(self, slot: int, blocks: Sequence[int] | None = None) -> None:
        """Stop believing that *slot* holds *blocks*; without *blocks*, that it holds anything (it restarted, say)."""
        beliefs = self._beliefs[slot]
        if blocks is None:
            self._release(slot, [block for block in beliefs.held if block >= 0])
            beliefs.held.clear()
            beliefs.held_tokens = beliefs.marks = beliefs.unmarked_tokens = 0
            self.oldest_use[slot] = 0.0
            return
        gone = []
        for block in blocks:
            if block in beliefs.held:
                tokens = beliefs.held.pop(block)
                beliefs.held_tokens -= tokens
                beliefs.unmarked_tokens -= tokens
                gone.append(block)
        self._release(slot, gone)

    def remove(self, hostport: str) -> None:
        """Forget an endpoint that left its pool."""
        slot = self._slots.pop(hostport, None)
        if slot is not None:
            self.forget(slot)
            self._beliefs[slot] = _Beliefs(self._default_tokens)
            self._free.append(slot)
            self._share_memory()

    def resize(self, slot: int, tokens: int) -> None:
        """Set what the engine of *slot* can hold."""
        self._beliefs[slot].told_tokens = tokens
        self._settle(slot)

    def expect(self, default_tokens: int, *, follow_engines: bool = True) -> None:
        """Set what an endpoint is taken to hold that does not say, and whether what they say counts."""
        if (default_tokens, follow_engines) != (self._default_tokens, self._follow_engines):
            self._default_tokens, self._follow_engines = default_tokens, follow_engines
            for slot in self._slots.values():
                self._settle(slot)

    def _settle(self, slot: int) -> None:
        beliefs = self._beliefs[slot]
        told = beliefs.told_tokens if self._follow_engines else None
        tokens = max(MIN_CAPACITY_TOKENS, self._default_tokens if told is None else told)
        if tokens != beliefs.nominal_tokens:
            beliefs.nominal_tokens = beliefs.capacity_tokens = tokens
            self.oldest_use[slot] = 0.0
            self._trim(slot)

    def correct(self, slot: int, believed_tokens: int, actual_tokens: int) -> None:
        """Learn from an answer: *believed_tokens* were said to be cached at *slot*, *actual_tokens* were.

        An engine that forgot sooner than we did holds less than its size says (long generations, other clients), so we believe
        in less of it; when beliefs come true again, the size recovers. Additive-increase, multiplicative-decrease.
        """
        beliefs = self._beliefs[slot]
        if actual_tokens < believed_tokens // 2:
            believed_in = min(beliefs.capacity_tokens, beliefs.held_tokens)
            beliefs.capacity_tokens = max(MIN_CAPACITY_TOKENS, believed_in * 9 // 10)
            self._trim(slot)
        elif believed_tokens:
            grown = beliefs.capacity_tokens + beliefs.nominal_tokens // 100 + 1
            beliefs.capacity_tokens = min(beliefs.nominal_tokens, grown)

    def held_tokens(self, slots: Iterable[int]) -> list[tuple[int, int]]:
        """Return, for each of *slots*, how many tokens it is believed to hold, and the most that it is believed to."""
        beliefs = self._beliefs
        return [(beliefs[slot].held_tokens, beliefs[slot].capacity_tokens) for slot in slots]

    def statistics(self) -> PrefixStatistics:
        """Return the index's size."""
        return PrefixStatistics(
            blocks=len(self._holders),
            entries=sum(len(beliefs.held) - beliefs.marks for beliefs in self._beliefs),
        )

    def _trim(self, slot: int) -> None:
        """Forget the least recently used blocks until both the engine's tokens and our memory suffice."""
        beliefs = self._beliefs[slot]
        held, held_tokens = beliefs.held, beliefs.held_tokens
        capacity_tokens, most = beliefs.capacity_tokens, self._share + beliefs.marks
        gone = []
        oldest_use = 1.0
        while held_tokens > capacity_tokens or len(held) > most:
            block, tokens = held.popitem(last=False)
            if tokens:
                held_tokens -= tokens
                gone.append(block)
            else:
                beliefs.marks, most, oldest_use = beliefs.marks - 1, most - 1, -float(block)
        beliefs.held_tokens = held_tokens
        if gone and self.oldest_use[slot] < oldest_use:
            self.oldest_use[slot] = oldest_use
        self._release(slot, gone)

    def _release(self, slot: int, blocks: Sequence[int]) -> None:
        holders, others = self._holders, ~(1 << slot)
        for block in blocks:
            left = holders[block] & others
            if left:
                holders[block] = left
            else:
                del holders[block]

    def _share_memory(self) -> None:
        """Divide the memory anew among the endpoints there are."""
        before, self._share = self._share, max(_MIN_ENTRIES, self._max_entries // max(1, len(self._slots)))
        # Thousands of endpoints come one by one at a start: then nothing is held, and nobody needs to be asked.
        if self._share < before and self._holders:
            for slot in self._slots.values():
                self._trim(slot)

    def _note(self, matched: NDArray[np.intp], mask: int, depth: int) -> None:
        """Write *depth* for the slots that are bits of *mask*."""
        if mask.bit_count() <= _FEW:
            while mask:
                matched[mask.bit_length() - 1] = depth
                mask ^= 1 << (mask.bit_length() - 1)
            return
        slots = len(matched)
        packed = np.frombuffer(mask.to_bytes((slots + 7) // 8, "little"), dtype=np.uint8)
        matched[np.unpackbits(packed, count=slots, bitorder="little").view(np.bool_)] = depth
