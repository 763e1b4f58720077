"""How many requests an engine's batch holds (vLLM `max_num_seqs`): said by somebody, or found out from those that wait for nothing else."""

from __future__ import annotations

import math

_SECONDS, _MORE = 20.0, 1.5
"""So long after a batch was found full it is tried whether it holds more: what held it up may have been something else."""


class Seats:
    """The seats of one engine."""

    __slots__ = ("_found_at", "_given", "most")

    def __init__(self) -> None:
        self.most = 0.0
        """0: not known, it was never found full."""
        self._given = 0
        self._found_at = -math.inf

    def give(self, seats: int) -> None:
        """Take it from somebody who knows; 0: it has to be found out."""
        if seats != self._given:
            self._given, self.most = seats, float(seats)

    def find(self, seated: float, now: float, *, full: bool) -> None:
        """Learn from *seated* requests in the batch; *full* says that others wait for nothing but a seat."""
        if self._given:
            return
        if full:
            self.most, self._found_at = seated, now
        elif self.most and seated > self.most:
            self.most = seated
        elif self.most and now - self._found_at > _SECONDS:
            self.most, self._found_at = math.ceil(_MORE * self.most), now
