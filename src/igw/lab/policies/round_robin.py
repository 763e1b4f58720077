"""`round-robin`: each candidate in its turn, whatever it is doing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import NAMED
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class RoundRobin:
    """Counts picks; the next in line is the retry. With candidates that come and go the count goes on over those that are there."""

    setting: Setting
    _turn: int = field(default=0, init=False)

    def pick(self, _request: Request, facts: Facts, /) -> Choice:
        """Return the candidate whose turn it is, then the one after it."""
        count, start = len(facts.inflight), self._turn
        self._turn += 1
        picked = [(start + step) % count for step in range(min(NAMED, count))]
        distance = (np.arange(count) - start) % count
        return Choice(picked, {"turn": -distance.astype(np.float64)})
