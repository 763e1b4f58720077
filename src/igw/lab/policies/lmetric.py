"""`lmetric`: the product of prefill work and batch size (Zhang et al., "LMetric", arXiv 2603.15202)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.prefills import Watching
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class LMetric(Watching):
    """Cost: (uncached prompt tokens, those queued there and this request's) x (requests there + 1). No weights to set.

    The 1 is this request: without it an empty endpoint would cost nothing whatever it has to compute.
    """

    setting: Setting

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the candidates of the smallest product."""
        own = np.maximum(1.0, request.prompt_tokens - facts.matched_tokens)
        tokens = self.prefills.column(facts.endpoints) + own
        return choose({"tokens x batch": -tokens * (facts.inflight + 1.0)}, self.setting.rng)
