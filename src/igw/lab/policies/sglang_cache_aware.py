"""`sglang-cache-aware`: SGLang's router policy `cache_aware`, which switches between affinity and shortest queue.

Source: sgl-router's `CacheAwarePolicy` with the library's defaults; its command line has 0.3 / 64 / 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from igw.decision import Decision
from igw.facts import Column, Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class SglangCacheAware:
    """Out of balance, the fewest requests win; in balance the best match if it is good enough, else the smallest tree.

    Out of balance: `max - min > balance_abs_threshold` and `max > balance_rel_threshold x min` requests. The router's radix tree of
    characters is replaced by the product's prefix index, which matches whole blocks. A tree's size is the text that its endpoint was
    sent and did not have yet, up to what its KV memory holds; the original trims by age.
    """

    setting: Setting
    cache_threshold: float = 0.5
    balance_abs_threshold: float = 32.0
    balance_rel_threshold: float = 1.1
    _tree_tokens: dict[str, int] = field(default_factory=dict, init=False)

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the best by whichever rule is in force; the score is named after it."""
        rule, column = self._rule(request, facts)
        return choose({rule: column}, self.setting.rng)

    def decided(self, decision: Decision) -> None:
        """Let the tree of the picked endpoint grow by what is new to it."""
        where, most = decision.endpoint.hostport, self.setting.kv_capacity_tokens
        size = self._tree_tokens.get(where, 0) + decision.uncached_tokens
        self._tree_tokens[where] = min(size, most) if most else size

    def _rule(self, request: Request, facts: Facts) -> tuple[str, Column]:
        requests = facts.inflight
        most, least = requests.max(), requests.min()
        if most - least > self.balance_abs_threshold and most > self.balance_rel_threshold * least:
            return "shortest queue", -requests
        match = facts.matched_tokens / max(1, request.prompt_tokens)
        if match.max() > self.cache_threshold:
            return "prefix match", match
        sizes = [self._tree_tokens.get(endpoint.hostport, 0) for endpoint in facts.endpoints]
        return "smallest tree", -np.array(sizes, dtype=np.float64)
