"""How fast requests find their places, and what that means for who waits. Which header says so is not here."""

from __future__ import annotations

import math

MOST_SECONDS = 60
"""Nobody is told to come back later than this: by then everything may be different."""


class DrainRate:
    """Dispatches per second, as an average that forgets with a time constant."""

    def __init__(self, forgets_seconds: float = 10.0) -> None:
        self._forgets = forgets_seconds
        self._rate = 0.0
        self._at: float | None = None

    def count(self, now: float) -> None:
        """Note one dispatch."""
        if self._at is not None:
            self._rate *= math.exp((self._at - now) / self._forgets)
        self._rate += 1.0 / self._forgets
        self._at = now

    def per_second(self, now: float) -> float:
        """Return the rate at *now*."""
        return 0.0 if self._at is None else self._rate * math.exp((self._at - now) / self._forgets)

    def wait_seconds(self, ahead: int, now: float) -> float | None:
        """Return how long it takes until *ahead* requests have gone; None if nothing has gone lately."""
        rate = self.per_second(now)
        return ahead / rate if rate > 1e-3 else None

    def retry_after_seconds(self, ahead: int, now: float) -> int:
        """Return when coming back makes sense, in whole seconds from 1 to 60: the longest where nothing has gone lately."""
        wait = self.wait_seconds(ahead, now)
        return MOST_SECONDS if wait is None else max(1, min(MOST_SECONDS, math.ceil(wait)))
