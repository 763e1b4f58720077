"""`affinity-token-load`: llm-d's guide since June 2026, `prefix-cache-affinity-filter` before `token-load-scorer`.

Source: llm-d-router's plugins at their defaults, as the guide `optimized-baseline` configures them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from igw.facts import Column, Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.prefills import Watching
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice

_OUT = -2.0
"""Less than any score of the scorer can make up for."""


@dataclass
class AffinityTokenLoad(Watching):
    """Among the endpoints that hold the prompt, the one with the fewest uncached tokens in flight wins.

    Holding it means at least `affinity_threshold` of it. When the best wait among those is more than `max_ttft_penalty_ms` above the
    best among the others, or nobody holds it, all are compared; a wait is `tokens in flight / peak_prefill_throughput`.
    Score: `1 - min(t, Q) / Q` with t = tokens in flight + uncached ones of this request, Q = `queue_threshold_tokens`.
    """

    setting: Setting
    affinity_threshold: float = 0.80
    max_ttft_penalty_ms: float = 18_000.0
    peak_prefill_throughput: float = 15_928.0
    """Tokens per second; upstream's figure for Qwen3-32B on two H100."""
    queue_threshold_tokens: float = 4_194_304.0

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the least loaded of those that hold the prompt, or of all."""
        inflight = self.prefills.column(facts.endpoints)
        tokens = inflight + np.maximum(0.0, request.prompt_tokens - facts.matched_tokens)
        most = self.queue_threshold_tokens
        scores = {
            "prefix-cache-affinity-filter": np.where(self._kept(facts, inflight), 0.0, _OUT),
            "token-load-scorer": 1.0 - np.minimum(tokens, most) / most,
        }
        return choose(scores, self.setting.rng)

    def _kept(self, facts: Facts, inflight: Column) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        everyone = np.ones(len(inflight), dtype=bool)
        sticky = facts.matched_tokens >= self.affinity_threshold * max(1, facts.prefix_tokens)
        if not sticky.any() or sticky.all():
            return everyone
        penalty_seconds = (inflight[sticky].min() - inflight[~sticky].min()) / self.peak_prefill_throughput
        return everyone if penalty_seconds * 1e3 > self.max_ttft_penalty_ms else sticky
