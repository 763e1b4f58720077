"""How fast an error budget burns: what was good and bad within the last minutes and hours, in bounded memory. Pure; what is good is the caller's business."""

from __future__ import annotations

from collections.abc import Mapping

SLOTS = 60
"""Of a window: it forgets in steps of a sixtieth."""
WINDOWS: Mapping[str, float] = {"5m": 300.0, "1h": 3600.0, "6h": 21_600.0}
"""Name and seconds; the longest is what the budget is reckoned over."""


class _Window:
    """What had been counted when each of the last slots began."""

    __slots__ = ("_begun", "_newest", "slot_seconds")

    def __init__(self, seconds: float, now: float) -> None:
        self.slot_seconds = seconds / SLOTS
        self._newest = int(now / self.slot_seconds)
        self._begun = [(0, 0)] * SLOTS

    def begin(self, now: float, counted: tuple[int, int]) -> float:
        """Begin the slot of *now* if it has not begun; return when the next one does."""
        at = int(now / self.slot_seconds)
        for slot in range(max(self._newest, at - SLOTS) + 1, at + 1):
            self._begun[slot % SLOTS] = counted
        self._newest = max(self._newest, at)
        return (self._newest + 1) * self.slot_seconds

    def before(self) -> tuple[int, int]:
        """Return what had been counted when the window began."""
        return self._begun[(self._newest + 1) % SLOTS]


class Burning:
    """Good and bad of one objective, in all and by window. Times may not go back."""

    __slots__ = ("_bad", "_good", "_next", "_windows")

    def __init__(self, now: float) -> None:
        self._good = self._bad = 0
        self._next = now
        self._windows = {name: _Window(seconds, now) for name, seconds in WINDOWS.items()}

    def add(self, now: float, *, good: bool) -> None:
        """Count one request."""
        if now >= self._next:
            self._begin(now)
        if good:
            self._good += 1
        else:
            self._bad += 1

    def counts(self, now: float) -> dict[str, tuple[int, int]]:
        """Return good and bad within the last minutes and hours, by window: of its length, or up to a sixtieth less."""
        self._begin(now)
        before = {name: window.before() for name, window in self._windows.items()}
        return {name: (self._good - good, self._bad - bad) for name, (good, bad) in before.items()}

    def _begin(self, now: float) -> None:
        counted = (self._good, self._bad)
        self._next = min([window.begin(now, counted) for window in self._windows.values()])


def burn_rate(good: int, bad: int, share: float) -> float | None:
    """Return how many times too fast the budget burns: 1 is just as fast as an objective of *share* allows; None where nothing happened."""
    return bad / (good + bad) / (1.0 - share) if good + bad else None
