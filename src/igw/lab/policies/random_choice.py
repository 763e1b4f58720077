"""`random`: every candidate is as good as any other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class RandomChoice:
    """Knows nothing and remembers nothing."""

    setting: Setting

    def pick(self, _request: Request, facts: Facts, /) -> Choice:
        """Return two candidates drawn without preference."""
        return choose({"random": np.zeros(len(facts.inflight))}, self.setting.rng)
