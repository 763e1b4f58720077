"""`power-of-two`: draw two candidates, take the one with fewer requests (Mitzenmacher, "The power of two choices", 2001)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class PowerOfTwo:
    """Load is what this picker itself has in flight there: exact, so both draws are compared on the same moment."""

    setting: Setting

    def pick(self, _request: Request, facts: Facts, /) -> Choice:
        """Return the lighter of two draws, then the other."""
        count, rng = len(facts.inflight), self.setting.rng
        drawn = np.full(count, -facts.inflight.max() - 1.0)
        drawn[rng.sample(range(count), min(2, count))] = 0.0
        return choose({"drawn": drawn, "requests": -facts.inflight}, rng)
