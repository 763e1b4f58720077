"""What is known to have no room until something changes, so that nobody is asked twice in vain. Asking is `engine`."""

from __future__ import annotations

from collections.abc import Hashable

_TRIES = 48
"""Claims of one lane that are asked between two changes, if none of them fits: each asks for a whole pick."""


class Refusals:
    """The noes since the last change of anything."""

    def __init__(self) -> None:
        self._full: dict[Hashable, int] = {}
        self._tries: dict[Hashable, int] = {}
        self.asked: set[int] = set()
        """Numbers of those that did not fit."""
        self.closed: tuple[Hashable, ...] = ()
        """Endpoints kept for those that have waited too long."""

    def clear(self) -> None:
        """Something has changed: everybody may be asked again."""
        self._full.clear()
        self._tries.clear()
        self.asked.clear()
        self.closed = ()

    def covers(self, lane: Hashable, priority: int) -> bool:
        """Return whether there is nothing for this lane at this priority: where a band found nothing, lower ones must not look."""
        return lane in self._full and priority <= self._full[lane]

    def full(self, lane: Hashable, priority: int) -> None:
        """Note that *lane* has no room for anybody of this priority or a lower one."""
        self._full[lane] = max(priority, self._full.get(lane, priority))

    def unfit(self, lane: Hashable, number: int, priority: int) -> None:
        """Note that one request did not fit. After some of them the lane counts as full."""
        self.asked.add(number)
        self._tries[lane] = self._tries.get(lane, 0) + 1
        if self._tries[lane] >= _TRIES:
            self.full(lane, priority)

    def close(self, endpoint: Hashable | None) -> None:
        """Keep *endpoint* for one that has waited too long."""
        if endpoint is not None and endpoint not in self.closed:
            self.closed = (*self.closed, endpoint)
