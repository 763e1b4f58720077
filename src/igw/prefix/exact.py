"""Who holds which block of tokens, and in which tier, as engines told by their KV events. Guesses from our own picks are in `index`.

One dictionary per tier says which slots (endpoints) hold a block, as the bits of an integer, by a key of our own (`chain`). Per slot and
tier, another says which key an engine's name for a block stands for: names differ from engine to engine, and a removal tells only those.
A key is found by the name of the block's parent, so a block whose parent is not known is not entered: what is here is always a part of
what the engine holds, never more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.prefix.chain import TOKEN_BYTES, Prompt, adapted, extended, keys, packed, root
from igw.prefix.events import ATTENDING, TIERS, BlockRemoved, BlockStored, Event, Name, tier_of
from igw.prefix.expected import Expected
from igw.prefix.held import SOURCES, Held, matched, slots_of

BLOCK_BYTES = 260
"""Memory of one block that one endpoint holds, as `python -m benchmarks prefix_exact` measures it."""
HOLDER_BYTES = 140
"""Memory for each further endpoint that holds it."""
MAX_TOKENS = 262_144
"""Of a prompt, which take about a millisecond to hash in blocks of 16; beyond them prompts count as not cached anywhere."""
_MOST_SIZES = 8
"""Sizes of blocks in use at once; every lookup hashes a prompt once for each."""
_LARGEST_BLOCK_TOKENS = 65_536
_MOST_NAMES = 1024
"""Adapters that are remembered, and groups of one engine."""


class ExactStatistics(msgspec.Struct, frozen=True):
    """Size of the index, and what could not be entered since the start."""

    blocks: int
    """Different ones, in each tier."""
    entries: int
    """Blocks of all endpoints and tiers."""
    size_bytes: int
    """Estimated, by what blocks and holders take."""
    orphans: int
    """Blocks left out because their parent is not known: its event was before our time, or lost."""
    skipped: int
    """Blocks left out because their kind of cache says nothing of a prefix (`ATTENDING`)."""
    malformed: int
    """Events left out because they contradict themselves."""
    refused: int
    """Blocks left out because memory is full."""
    admitted: int = 0
    """Entries ever made; those that are no more are gone."""


class _Cache:
    """What one engine told of its cache."""

    __slots__ = ("bit", "copies", "groups", "keys", "orphans", "stored", "twice")

    def __init__(self, slot: int) -> None:
        self.bit = 1 << slot
        self.keys: tuple[dict[Name, int], ...] = tuple({} for _ in TIERS)
        """By tier: name -> key."""
        self.copies: dict[tuple[int, Name], int] = {}
        """Further copies of a block that is held more than once: it is gone with the last one."""
        self.twice: dict[tuple[int, int], int] = {}
        """Further names of a key: it is gone with the last one."""
        self.groups: set[int] = set()
        """Groups whose blocks are left out."""
        self.stored = self.orphans = 0


class ExactIndex:
    """Exact prefix index over all pools. Owner of its slots, which are not those of the approximate one."""

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self._max_bytes = max_bytes
        self._holders: tuple[dict[int, int], ...] = tuple({} for _ in TIERS)
        """By tier: key -> slots."""
        self._caches: list[_Cache] = []
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._sizes: dict[int, int] = {}
        """Size of blocks -> slots whose engines told of such."""
        self._entries = self._admitted = 0
        self._skipped = self._malformed = self._refused = self._orphans = 0
        self._whole = 0
        self._adapters: set[str] = set()
        self.version = 0
        """Counts how often slots were given and taken."""
        self.expected = Expected()

    # Endpoints --------------------------------------------------------------------------------------------------

    def slot(self, hostport: str) -> int:
        """Return the slot of an endpoint, giving it one if it is new."""
        slot = self._slots.get(hostport)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._caches)
            if slot == len(self._caches):
                self._caches.append(_Cache(slot))
            self._slots[hostport] = slot
            self.version += 1
        return slot

    def slot_of(self, hostport: str) -> int | None:
        """Return the slot of a known endpoint, None for any other."""
        return self._slots.get(hostport)

    def remove(self, hostport: str) -> None:
        """Forget an endpoint that left its pool."""
        slot = self._slots.pop(hostport, None)
        if slot is not None:
            self.clear(slot)
            self.note_whole(slot, whole=False)
            self.expected.forget(slot)
            self._caches[slot] = _Cache(slot)
            self._free.append(slot)
            self.version += 1

    def is_adapter(self, model: str) -> bool:
        """Return whether blocks were stored for a LoRA adapter of that name: then its requests use no others."""
        return model in self._adapters

    def note_whole(self, slot: int, *, whole: bool) -> None:
        """Note whether all that the engine of *slot* told since its start was heard: then what it does not hold, it does not hold."""
        bit = 1 << slot
        if bool(self._whole & bit) != whole:
            self._whole ^= bit

    def whole(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return of which slots it was noted; of none for -1. Shape: that of *slots*."""
        return np.array([slot >= 0 and self._whole >> slot & 1 for slot in slots.tolist()], dtype=bool)

    def told(self, hostport: str) -> tuple[int, int]:
        """Return how many blocks an endpoint told of that could be entered, and how many not because their parent is not known."""
        slot = self._slots.get(hostport)
        return (self._caches[slot].stored, self._caches[slot].orphans) if slot is not None else (0, 0)

    # Lookup -----------------------------------------------------------------------------------------------------

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Sizes of blocks, in tokens, that engines told of."""
        return tuple(self._sizes)

    def keys(self, prompt: Prompt) -> dict[int, list[int]]:
        """Return the keys of *prompt*'s blocks by every size in use, as far as `MAX_TOKENS`: what `match` and `expect` go by."""
        if len(prompt) > MAX_TOKENS:
            prompt = msgspec.structs.replace(prompt, tokens=prompt.tokens[: MAX_TOKENS * TOKEN_BYTES])
        return {size: keys(prompt, size) for size in self._sizes}

    def match(self, keys: dict[int, list[int]]) -> Held:
        """Return how many leading tokens each slot holds, and in which tier. Shape: [slots].

        In each tier a slot lacks, the next one is asked; the first block that a slot has in none ends what it holds.
        """
        slots = len(self._caches)
        tokens = np.zeros(slots)
        sources: dict[str, Column] = {}
        below: Column = np.zeros(slots)
        lower = [*enumerate(self._holders[1:], 1), (len(TIERS), self.expected.holders)]
        for size, chain in keys.items():
            depths, runs = matched(chain, self._holders[0], lower, slots)
            reached = depths * size
            better = reached > tokens
            tokens = np.maximum(tokens, reached)
            if sources:  # of another size of blocks, which reaches less far there
                for column in (*sources.values(), below):
                    column[better] = 0.0
            for number, mask, first, end in runs:
                column = sources.setdefault(SOURCES[number], np.zeros(slots))
                at = [slot for slot in slots_of(mask) if better[slot]]
                column[at] += (end - first) * size
                below[at] += (end - first) * size
        return Held(tokens, {SOURCES[0]: tokens - below} | sources)

    def expect(self, slot: int, keys: dict[int, list[int]], until: float) -> None:
        """Believe until then that *slot* will hold the blocks of a prompt that was just sent there."""
        told = [size for size, slots in self._sizes.items() if slots >> slot & 1]
        for size, chain in keys.items():
            if size in told or not told:
                self.expected.add(slot, chain, until)

    def statistics(self) -> ExactStatistics:
        """Return size and losses."""
        blocks = sum(len(holders) for holders in self._holders)
        return ExactStatistics(
            blocks,
            self._entries,
            self._size_bytes,
            self._orphans,
            self._skipped,
            self._malformed,
            self._refused,
            self._admitted,
        )

    # Events -----------------------------------------------------------------------------------------------------

    def apply(self, slot: int, events: Iterable[Event]) -> None:
        """Take note of what the engine of *slot* told, in order."""
        for event in events:
            if isinstance(event, BlockStored):
                self._store(self._caches[slot], event)
            elif isinstance(event, BlockRemoved):
                self._discard(self._caches[slot], event)
            else:
                self.clear(slot)

    def clear(self, slot: int) -> None:
        """Forget what *slot* told: its cache is empty, or is no longer what we know of it."""
        cache = self._caches[slot]
        for tier, known in enumerate(cache.keys):
            for key in set(known.values()):
                self._drop(tier, key, ~cache.bit)
            self._entries -= len(known)
            known.clear()
        cache.copies.clear()
        cache.twice.clear()
        for size, slots in list(self._sizes.items()):
            if left := slots & ~cache.bit:
                self._sizes[size] = left
            else:
                del self._sizes[size]

    def _store(self, cache: _Cache, event: BlockStored) -> None:
        names, size = event.block_hashes, event.block_size
        if event.kv_cache_spec_kind is not None and event.kv_cache_spec_kind not in ATTENDING:
            if event.group_idx is not None and len(cache.groups) < _MOST_NAMES:
                cache.groups.add(event.group_idx)
            self._skipped += len(names)
            return
        tier = tier_of(event.medium)
        if not event.token_ids:
            self._enter(cache, tier, names, [_known(cache, name) for name in names])
            return
        if len(event.token_ids) != size * len(names) or not self._has_size(cache, size):
            self._malformed += 1
            return
        parent = self._parent(cache, event)
        if parent is None:
            self._enter(cache, tier, names, [None] * len(names))
            return
        try:
            tokens = packed(event.token_ids)
        except OverflowError:
            self._malformed += 1
            return
        extras = _extras(event) if event.extra_keys else None
        self._enter(cache, tier, names, extended(parent, tokens, size, extras))

    def _enter(self, cache: _Cache, tier: int, names: Sequence[Name], keys: Sequence[int | None]) -> None:
        """Enter blocks of *names*, of which those without a key are orphans."""
        known, holders, bit = cache.keys[tier], self._holders[tier], cache.bit
        room, stored = self._room(cache), cache.stored
        before, after = 0, bit  # neighbours mostly have the same holders: one integer serves them all
        for name, key in zip(names, keys, strict=True):
            if name in known:
                cache.copies[tier, name] = cache.copies.get((tier, name), 0) + 1
                continue
            if key is None:
                self._orphans += 1
                cache.orphans += 1
                continue
            if room <= 0:
                self._refused += 1
                continue
            known[name] = key
            slots = holders.get(key, 0)
            if slots & bit:
                cache.twice[tier, key] = cache.twice.get((tier, key), 0) + 1
            else:
                if slots != before:
                    before, after = slots, slots | bit
                holders[key] = after
            room -= 1
            cache.stored += 1
            self._entries += 1
        self._admitted += cache.stored - stored
        if self.expected.holders:
            self.expected.told(bit.bit_length() - 1, keys)

    def _discard(self, cache: _Cache, event: BlockRemoved) -> None:
        if event.group_idx in cache.groups:
            return
        tier = tier_of(event.medium)
        known, others = cache.keys[tier], ~cache.bit
        for name in event.block_hashes:
            if cache.copies and _less(cache.copies, (tier, name)):
                continue
            key = known.pop(name, None)
            if key is None:
                continue
            self._entries -= 1
            if not (cache.twice and _less(cache.twice, (tier, key))):
                self._drop(tier, key, others)

    def _drop(self, tier: int, key: int, others: int) -> None:
        holders = self._holders[tier]
        left = holders[key] & others
        if left:
            holders[key] = left
        else:
            del holders[key]

    def _parent(self, cache: _Cache, event: BlockStored) -> int | None:
        """Return the key of what comes before the blocks of *event*; None if it is not known."""
        if event.parent_block_hash is not None:
            return _known(cache, event.parent_block_hash)
        adapter = _adapter(event)
        if adapter and len(self._adapters) < _MOST_NAMES:
            self._adapters.add(adapter)
        return adapted(root(event.block_size), adapter)

    def _has_size(self, cache: _Cache, size: int) -> bool:
        """Return whether blocks of *size* can be entered, and note that the engine has such."""
        slots = self._sizes.get(size, 0)
        if not slots and (not 0 < size <= _LARGEST_BLOCK_TOKENS or len(self._sizes) >= _MOST_SIZES):
            return False
        if not slots & cache.bit:
            self._sizes[size] = slots | cache.bit
        return True

    @property
    def _size_bytes(self) -> int:
        blocks = sum(len(holders) for holders in self._holders)
        return blocks * (BLOCK_BYTES - HOLDER_BYTES) + self._entries * HOLDER_BYTES

    def _room(self, cache: _Cache) -> int:
        """Return how many blocks may still be entered for an engine: its share is its own, what nobody uses is anyone's."""
        left = (self._max_bytes - self._size_bytes) // BLOCK_BYTES
        if 2 * self._size_bytes < self._max_bytes:
            return left
        share = self._max_bytes // BLOCK_BYTES // len(self._slots)
        return min(left, share - sum(len(known) for known in cache.keys))


def _known(cache: _Cache, name: Name) -> int | None:
    for known in cache.keys:
        if known and (key := known.get(name)) is not None:
            return key
    return None


def _less(counts: dict[Any, int], of: Any) -> bool:
    """Count one less *of* in *counts*; return whether there was any."""
    count = counts.get(of, 0)
    if count > 1:
        counts[of] = count - 1
    elif count:
        del counts[of]
    return count > 0


def _adapter(event: BlockStored) -> str:
    """Return the name of the event's adapter; an engine that tells only a number gets a name that no request has."""
    if event.lora_name:
        return event.lora_name
    return f"\0{event.lora_id}" if event.lora_id else ""


def _extras(event: BlockStored) -> list[Sequence[Any] | None] | None:
    """Return what was hashed per block beside tokens and adapter, whose name comes first."""
    extras: list[Sequence[Any] | None] = []
    for extra in event.extra_keys or ():
        named = extra and event.lora_name and extra[0] == event.lora_name
        extras.append(extra[1:] if extra and named else extra)
    return extras if any(extras) else None
