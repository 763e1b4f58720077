"""What the number of a message means: the next one, one we have had, one too many, or an engine that began anew. Pure; sockets are in `listening`."""

from __future__ import annotations

from enum import Enum, auto


class Step(Enum):
    """What to do with a message."""

    TAKE = auto()
    """It is the next one."""
    SKIP = auto()
    """It was taken already, out of a replay."""
    MISSING = auto()
    """Others come before it that were not taken."""
    RESTARTED = auto()
    """The engine counts from its start again: what it said before is void."""


class Numbering:
    """Where one publisher is. vLLM and SGLang number messages from 0, and one that restarts begins anew."""

    __slots__ = ("_overlap", "_timestamp", "next", "whole")

    def __init__(self) -> None:
        self.next: int | None = None
        """The number that is expected; None before the first message, and after a restart."""
        self.whole = False
        """Whether everything since the engine's start was taken."""
        self._timestamp = 0.0
        self._overlap = 0

    def step(self, number: int, timestamp: float) -> Step:
        """Return what to do with a message of that number; *timestamp* is the engine's own."""
        if self.next is None:
            return Step.MISSING if number else Step.TAKE
        if number == self.next:
            return Step.TAKE
        if number > self.next:
            return Step.MISSING
        if number < self._overlap and timestamp <= self._timestamp:
            return Step.SKIP
        return Step.RESTARTED

    def taken(self, number: int, timestamp: float) -> None:
        """Note that a message counts, be it the next one or not."""
        if self.next is None and number == 0:
            self.whole = True
        elif number != self.next:
            self.whole = False
        self.next, self._timestamp = number + 1, timestamp

    def replayed(self) -> None:
        """Note that a replay has ended: what the socket still holds of it is to be skipped."""
        self._overlap = self.next or 0

    def restarted(self) -> None:
        """Begin anew."""
        self.next, self.whole, self._overlap = None, False, 0

    @property
    def replay_from(self) -> int:
        """The first number to ask for: of the last one taken, which tells whether it is still the same engine run."""
        return max(0, self.next - 1) if self.next is not None else 0

    def another_run(self, number: int, timestamp: float) -> bool:
        """Return whether a replayed message shows that the engine restarted: its last one is not the one that was taken."""
        return self.next is not None and number == self.next - 1 and timestamp != self._timestamp
