"""How many requests an endpoint can have in flight before more of them only wait, learnt from how long they take. Pure; who asks is a detector."""

from __future__ import annotations

import math
from statistics import median

_PROBE_EVERY = 100
"""Windows between two looks at the uncongested time."""


class ConcurrencyLimit:
    """Additive increase, multiplicative decrease (as TCP does it) on the time to the first token.

    Samples are times over what they should be in proportion to, so that long prompts do not look like congestion. A window of them is
    compared with an uncongested one. That is looked for again from time to time by allowing a quarter for two windows (as BBR does it):
    a server that is always full never shows it otherwise, and models and hardware change.
    """

    __slots__ = ("_best", "_limit", "_peak", "_probing", "_samples", "_tolerance", "_windows")

    LEAST, MOST, START = 4.0, 10_000.0, 32.0

    def __init__(self, tolerance: float = 2.0) -> None:
        """Take how many times the uncongested time is still taken for uncongested."""
        self._limit = self.START
        self._tolerance = tolerance
        self._best = math.inf
        self._samples: list[float] = []
        self._peak = 0
        self._windows = 0
        self._probing = 0

    @property
    def limit(self) -> float:
        """Requests in flight that make the endpoint full."""
        return max(self.LEAST, self._limit / 4) if self._probing else self._limit

    def observe(self, slowness: float, inflight: int) -> None:
        """Learn from one request: its time over what it is in proportion to, and how many were in flight with it."""
        self._samples.append(slowness)
        self._peak = max(self._peak, inflight)
        if len(self._samples) < max(8, self.limit / 4):
            return
        typical, peak = median(self._samples), self._peak
        self._samples, self._peak = [], 0
        self._windows += 1
        if self._probing:
            # The first of the two windows still has requests of before.
            self._probing -= 1
            self._best = typical
            return
        self._best = min(typical, self._best)
        self._probing = 2 if self._windows % _PROBE_EVERY == 0 else 0
        if typical > self._tolerance * self._best:
            # From what was in flight, if that was less: a limit that nobody reached is not what was wrong.
            self._limit = max(self.LEAST, 0.9 * min(self._limit, max(peak, self.LEAST)))
        elif peak >= 0.8 * self._limit:
            self._limit = min(self.MOST, self._limit + math.sqrt(self._limit))
