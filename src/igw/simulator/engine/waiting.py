"""Those that wait to run, in order, and the adapters that decide who may.

Memory decides as well, but not here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from igw.simulator.engine.sequence import Progress


class AdapterSlots:
    """Which LoRA adapters are in GPU memory and how many running sequences use each; at most `count` (`max_loras`)."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.users: dict[str, int] = {}
        """Running sequences by adapter; adapters without any are left out."""
        self._loaded: dict[str, None] = {}  # the least recently used first

    def admits(self, adapter: str | None) -> bool:
        """Return whether one more sequence with *adapter* may run now."""
        return adapter is None or adapter in self.users or len(self.users) < self.count

    def enter(self, adapter: str) -> bool:
        """Let a sequence run with *adapter*, which is admitted; True when it has to be loaded for that."""
        known = adapter in self._loaded
        if known:
            del self._loaded[adapter]
        elif len(self._loaded) == self.count:
            del self._loaded[next(each for each in self._loaded if each not in self.users)]
        self._loaded[adapter] = None
        self.users[adapter] = self.users.get(adapter, 0) + 1
        return not known

    def leave(self, adapter: str) -> None:
        """A sequence with *adapter* does not run any more."""
        self.users[adapter] -= 1
        if not self.users[adapter]:
            del self.users[adapter]


class Waiting:
    """Queues by adapter, each in the order of the keys.

    vLLM keeps one queue and in every step passes over those whose adapter has no slot. The order is the same here,
    but a long queue for one adapter costs the others nothing.
    """

    def __init__(self) -> None:
        self._queues: dict[str | None, list[tuple[tuple[int, int], Progress]]] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def __iter__(self) -> Iterator[Progress]:
        """Yield everybody, in no order."""
        return (progress for queue in self._queues.values() for _, progress in queue)

    @property
    def adapters(self) -> set[str]:
        """Adapters that somebody waits with."""
        return {each for each in self._queues if each is not None}

    def add(self, progress: Progress) -> None:
        """Put *progress* where its key belongs."""
        insort(self._queues.setdefault(progress.sequence.adapter, []), (progress.key, progress))

    def remove(self, progress: Progress) -> None:
        """Take *progress* out."""
        adapter = progress.sequence.adapter
        queue = self._queues[adapter]
        if len(queue) == 1:
            del self._queues[adapter]
        else:
            del queue[bisect_left(queue, (progress.key,))]

    def first(self, slots: AdapterSlots) -> Progress | None:
        """Return who is next among those whose adapter is admitted; None when there is nobody."""
        heads = [queue[0] for adapter, queue in self._queues.items() if slots.admits(adapter)]
        return min(heads)[1] if heads else None

    def deferred(self, slots: AdapterSlots) -> int:
        """Return how many wait for a slot of their adapter."""
        return sum(len(queue) for adapter, queue in self._queues.items() if not slots.admits(adapter))
