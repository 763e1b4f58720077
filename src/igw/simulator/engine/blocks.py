"""The paged KV memory of one engine: who holds how many blocks, which full blocks can be found again, what is evicted.

Which sequence may grow and which one must give way is the engine's decision, not made here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from xxhash import xxh3_64_intdigest


def block_hashes(model: str, tokens: array[int], block_size: int) -> tuple[int, ...]:
    """Return a chained 64-bit hash per full block of `tokens`: equal hashes mean equal model and equal prefix."""
    parent = xxh3_64_intdigest(model.encode())
    stride = block_size * tokens.itemsize
    hashes = []
    with memoryview(tokens) as view, view.cast("B") as raw:
        for start in range(0, len(raw) - stride + 1, stride):
            parent = xxh3_64_intdigest(raw[start : start + stride], parent)
            hashes.append(parent)
    return tuple(hashes)


class KvBlocks:
    """Counts blocks instead of numbering them; only full blocks have a name, their hash.

    A block is free or held. A held block is either named, perhaps by several sequences at once, or unnamed:
    partly filled, or a second copy of a name that was already taken (vLLM does not merge such copies).
    A free block may still be cached under its name until it is needed: the least recently used goes first.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._holders: dict[int, int] = {}
        self._unnamed = 0
        self._idle: dict[int, None] = {}  # insertion order is the order of eviction

    @property
    def free(self) -> int:
        """Blocks nobody holds, cached ones included."""
        return self.count - len(self._holders) - self._unnamed

    @property
    def cached(self) -> int:
        """Free blocks that can still be found by name."""
        return len(self._idle)

    def cached_prefix(self, hashes: Sequence[int], limit: int) -> int:
        """Return how many leading blocks of `hashes`, at most `limit`, are in memory."""
        holders, idle = self._holders, self._idle
        count = 0
        for name in hashes[:limit]:
            if name not in holders and name not in idle:
                break
            count += 1
        return count

    def idle_among(self, hashes: Iterable[int]) -> int:
        """Return how many of the named blocks are free now and would stop being so when shared."""
        return sum(name in self._idle for name in hashes)

    def share(self, hashes: Iterable[int]) -> None:
        """Hold blocks that are in memory already; KeyError for one that is not."""
        for name in hashes:
            if name in self._idle:
                del self._idle[name]
                self._holders[name] = 1
            else:
                self._holders[name] += 1

    def take(self, count: int) -> None:
        """Hold `count` unnamed blocks; blank ones first, then the least recently used cached ones."""
        if count > self.free:
            raise ValueError(f"{count} blocks wanted, {self.free} free")
        for _ in range(count - (self.free - len(self._idle))):
            del self._idle[next(iter(self._idle))]
        self._unnamed += count

    def name(self, block: int) -> bool:
        """Publish a full block that the caller holds unnamed; False when the name is taken and it stays a copy."""
        if block in self._holders:
            return False
        self._idle.pop(block, None)
        self._unnamed -= 1
        self._holders[block] = 1
        return True

    def release(self, held: list[int | None]) -> None:
        """Give back all blocks of a sequence, None for unnamed ones; its tail will be evicted before its head."""
        for name in reversed(held):
            if name is None:
                self._unnamed -= 1
            elif self._holders[name] > 1:
                self._holders[name] -= 1
            else:
                del self._holders[name]
                self._idle[name] = None
