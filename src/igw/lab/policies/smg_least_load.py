"""`smg-least-load`: the policy `least_load` of the SGLang model gateway (SMG): time to drain plus a price on full KV memory."""

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
class SmgLeastLoad(Watching):
    """Cost in seconds: `tokens to compute / throughput + kv_pressure_weight x k / (1 - k)`, k = share of KV memory in use.

    The original adds the queue that an engine reports every 10 s and what it sent there since; vLLM reports no such queue, so here it is
    what was sent and has not begun to answer. KV use is as old as the product's scrape, which is fresher than the original's.
    """

    setting: Setting
    throughput_tokens_per_second: float = 2_000.0
    """SMG's `default_throughput`, in force where an engine reports none."""
    kv_pressure_weight: float = 0.15
    """Seconds."""

    def pick(self, _request: Request, facts: Facts, /) -> Choice:
        """Return the candidates that are done soonest; this request's own work is not looked at."""
        used = np.minimum(facts.kv_usage, 0.999)
        scores = {
            "drain": -self.prefills.column(facts.endpoints) / self.throughput_tokens_per_second,
            "kv pressure": -self.kv_pressure_weight * used / (1.0 - used),
        }
        return choose(scores, self.setting.rng)
