"""The paged KV memory of one engine: who holds how many blocks, which full blocks can be found again, what is evicted.

Which sequence may grow and which one must give way is the engine's decision, not made here.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from xxhash import xxh3_64_intdigest

from igw.simulator.engine.events import Cleared, KvEvent, Removed, Stored


def block_hashes(
    model: str, tokens: array[int], block_size: int, *, adapter: str = "", salt: str = ""
) -> tuple[int, ...]:
    """Return a chained 64-bit hash per full block: equal hashes mean equal prefix, model, adapter and cache salt."""
    key = f"{model}\0{adapter}\0{salt}" if adapter or salt else model
    parent = xxh3_64_intdigest(key.encode())
    stride = block_size * tokens.itemsize
    hashes = []
    with memoryview(tokens) as view, view.cast("B") as raw:
        for start in range(0, len(raw) - stride + 1, stride):
            parent = xxh3_64_intdigest(raw[start : start + stride], parent)
            hashes.append(parent)
    return tuple(hashes)


Naming = Literal["new", "known", "copy"]
"""What became of a block that got its name: nobody had it; a free block had it, which is blank now; or somebody holds
a block of that name, and this one stays an unnamed copy."""


class KvBlocks:
    """Counts blocks instead of numbering them; only full blocks have a name, their hash.

    A block is free or held. A held block is either named, perhaps by several sequences at once, or unnamed:
    partly filled, or a second copy of a name that was already taken (vLLM does not merge such copies).
    A free block may still be cached under its name until it is needed: the least recently used goes first.
    With `cpu_count` names that go move to a second tier, where again the least recently used makes room.
    """

    def __init__(
        self, count: int, cpu_count: int = 0, events: Callable[[KvEvent], None] | None = None
    ) -> None:
        self.count = count
        self.free = count
        """Blocks nobody holds, cached ones included."""
        self._cpu_count = cpu_count
        self._events = events
        self._holders: dict[int, int] = {}  # 0 for cached ones
        # A plain dict is slow to pop from the front: it walks over what was deleted there.
        self._idle: OrderedDict[int, None] = OrderedDict()  # in the order of eviction
        self._cpu: OrderedDict[int, None] = OrderedDict()

    @property
    def cached(self) -> int:
        """Free blocks that can still be found by name."""
        return len(self._idle)

    @property
    def cpu_usage(self) -> float:
        """The part of the CPU tier that is taken, from 0 to 1."""
        return len(self._cpu) / self._cpu_count if self._cpu_count else 0.0

    def names(self) -> tuple[set[int], set[int]]:
        """Return the names on the GPU, held or cached, and those on the CPU."""
        return set(self._holders), set(self._cpu)

    def lookup(self, hashes: Sequence[int], limit: int) -> tuple[int, int]:
        """Return how many leading blocks of `hashes`, at most `limit`, are on the GPU, and how many of those are free."""
        holders = self._holders
        count = idle = 0
        for name in hashes[:limit]:
            users = holders.get(name)
            if users is None:
                break
            count += 1
            idle += not users
        return count, idle

    def cpu_lookup(self, hashes: Sequence[int], start: int, limit: int) -> int:
        """Return how many blocks of `hashes` from `start` on, up to `limit`, follow each other on the CPU."""
        count = 0
        if self._cpu:
            for name in hashes[start:limit]:
                if name not in self._cpu:
                    break
                count += 1
        return count

    def cpu_touch(self, names: Sequence[int]) -> None:
        """Make names that are on the CPU the last to go there, the tail of a sequence before its head."""
        for name in reversed(names):
            self._cpu.move_to_end(name)

    def has(self, name: int) -> bool:
        """Return whether a block of this name is on the GPU."""
        return name in self._holders

    def any_idle(self, names: Collection[int]) -> bool:
        """Return whether one of the names is that of a block nobody holds."""
        holders = self._holders
        return not holders.keys().isdisjoint(names) and any(holders.get(name) == 0 for name in names)

    def share(self, names: Collection[int]) -> None:
        """Hold blocks that are in memory already; KeyError for one that is not."""
        holders, idle = self._holders, self._idle
        for name in names:
            users = holders[name]
            if not users:
                del idle[name]
                self.free -= 1
            holders[name] = users + 1

    def take(self, count: int) -> None:
        """Hold `count` unnamed blocks; blank ones first, then the least recently used cached ones."""
        if count > self.free:
            raise ValueError(f"{count} blocks wanted, {self.free} free")
        evicted = count - (self.free - len(self._idle))
        self.free -= count
        if evicted > 0:
            self._evict(evicted)

    def name(self, name: int) -> Naming:
        """Publish a full block that the caller holds unnamed."""
        users = self._holders.get(name)
        if users:
            return "copy"
        self._holders[name] = 1
        if users is None:
            return "new"
        del self._idle[name]
        return "known"

    def name_new(self, names: Sequence[int]) -> bool:
        """Publish blocks all of whose names are new; False, and nothing was done, when one is not."""
        fresh = dict.fromkeys(names, 1)
        if len(fresh) < len(names) or not self._holders.keys().isdisjoint(fresh):
            return False
        self._holders |= fresh
        return True

    def name_all(self, names: Sequence[int]) -> list[Naming]:
        """Publish blocks one after the other, each as `name` does; nothing is returned when all were new."""
        return [] if self.name_new(names) else [self.name(name) for name in names]

    def release(self, names: Sequence[int], unnamed: int) -> None:
        """Give back blocks of a sequence: the named ones in their order, its tail will be evicted before its head."""
        holders, idle = self._holders, self._idle
        self.free += unnamed
        for name in reversed(names):
            users = holders[name]
            holders[name] = users - 1
            if users == 1:
                idle[name] = None
                self.free += 1

    def clear(self) -> None:
        """Forget all names on both tiers; RuntimeError while somebody holds a block."""
        if self.free != self.count:
            raise RuntimeError(f"{self.count - self.free} blocks are in use")
        self._holders.clear()
        self._idle.clear()
        self._cpu.clear()
        if self._events:
            self._events(Cleared())

    def _evict(self, count: int) -> None:
        pop, holders = self._idle.popitem, self._holders
        names = [pop(last=False)[0] for _ in range(count)]
        for name in names:
            del holders[name]
        if self._events:
            self._events(Removed(tuple(names), "GPU"))
        if self._cpu_count:
            self._offload(names)

    def _offload(self, names: list[int]) -> None:
        cpu = self._cpu
        fresh = [name for name in names if name not in cpu]
        for name in names:
            cpu[name] = None
            cpu.move_to_end(name)
        gone = [cpu.popitem(last=False)[0] for _ in range(len(cpu) - self._cpu_count)]
        if self._events:
            passed = set(fresh).intersection(gone)  # more at once than the tier can take
            if removed := tuple(name for name in gone if name not in passed):
                self._events(Removed(removed, "CPU"))
            if stored := tuple(name for name in fresh if name not in passed):
                self._events(Stored(None, 0, stored, "CPU"))
