"""How much one priority wanted at once lately: a maximum over a window that slides. What is kept free because of it is `bands`."""

from __future__ import annotations

from collections import deque

_LASTING_SECONDS = 0.1
"""Ends are told late: for a moment whoever has gone and whoever comes in its place are both counted."""


class Demand:
    """The most requests at once in the last one to two halves of a window, for as long as that lasts which is told late.

    Two numbers for the window, and the low ones of the last tenth of a second.
    """

    def __init__(self, window_seconds: float) -> None:
        """Take how long is remembered, above 0."""
        self._half = window_seconds / 2
        self._begun = 0.0
        self._recent = self._earlier = 0
        self._requests = 0
        self._lows: deque[tuple[float, int]] = deque()
        """(until when there were so many, how many): of the last moments, rising; any other was never the least."""

    def note(self, requests: int, now: float) -> None:
        """Note that so many want something from now on."""
        if requests == self._requests:
            return
        self._look(now)
        while self._lows and self._lows[-1][1] >= self._requests:
            self._lows.pop()
        self._lows.append((now, self._requests))
        self._requests = requests

    def most(self, now: float) -> int:
        """Return the most there were at once."""
        self._look(now)
        return max(self._recent, self._earlier)

    def _look(self, now: float) -> None:
        passed = now - self._begun
        if passed >= self._half:
            self._earlier = self._recent if passed < 2 * self._half else 0
            self._recent, self._begun = 0, now - passed % self._half
        while self._lows and self._lows[0][0] <= now - _LASTING_SECONDS:
            self._lows.popleft()
        lasting = min(self._requests, self._lows[0][1]) if self._lows else self._requests
        self._recent = max(self._recent, lasting)
