"""Virtual time: what is due, in order. What happens then is the callbacks' business; nothing here waits for real."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class VirtualClock:
    """A heap of callbacks. Those due at the same instant run in the order in which they were planned."""

    __slots__ = ("_due", "_numbers", "now")

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the run began."""
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def __call__(self) -> float:
        """Return the time, for code that takes a clock as a function."""
        return self.now

    def at(self, time: float, callback: Callable[..., None], *arguments: Any) -> None:
        """Call *callback* at *time*; what is past is due now."""
        heapq.heappush(self._due, (max(time, self.now), next(self._numbers), callback, arguments))

    def after(self, seconds: float, callback: Callable[..., None], *arguments: Any) -> None:
        """Call *callback* so many *seconds* from now."""
        self.at(self.now + seconds, callback, *arguments)

    def advance(self, until: float) -> bool:
        """Run the next callback; False, and nothing has happened, when there is none due by *until*."""
        due = self._due
        if not due or due[0][0] > until:
            return False
        self.now, _, callback, arguments = heapq.heappop(due)
        callback(*arguments)
        return True
