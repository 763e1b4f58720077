"""`learned-concurrency-detector`: is an endpoint, or the pool, full by what it was found to bear? Filter, and measure of saturation."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.decision import Decision
from igw.facts import Column, Facts
from igw.flow.concurrency import ConcurrencyLimit
from igw.request import Request
from igw.scheduling.api import Filter, Mask

_FIXED_SECONDS, _TOKENS_PER_SECOND = 0.1, 8000.0
"""What a time to the first token is measured against: only the proportions matter, the best time seen takes out the rest."""


class LearnedConcurrencyDetector(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints with less in flight than their learnt limit * (1 + `headroom`); all when none is left. Owner of the limits."""

    type: ClassVar[str] = "learned-concurrency-detector"

    tolerance: Annotated[float, Meta(gt=1)] = 2.0
    """How many times the best time to the first token is taken for uncongested."""
    headroom: Annotated[float, Meta(ge=0)] = 0.0

    def __post_init__(self) -> None:
        self._limits: dict[str, ConcurrencyLimit] = {}
        self._inflight: dict[str, int] = {}
        self._peaks: dict[int, int] = {}

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who has room."""
        room: Mask = facts.inflight < self.limits(facts) * (1.0 + self.headroom)
        return room if room.any() else np.ones(len(room), dtype=bool)

    def saturation(self, facts: Facts) -> float:
        """Return the mean share of their limits that endpoints have in flight; 1 for none."""
        return float((facts.inflight / self.limits(facts)).mean()) if len(facts.inflight) else 1.0

    def limits(self, facts: Facts) -> Column:
        """Return the learnt limits. Shape: [candidates]."""
        learnt = (self._limits.get(endpoint.hostport) for endpoint in facts.endpoints)
        return np.array([ConcurrencyLimit.START if each is None else each.limit for each in learnt])

    def decided(self, decision: Decision, /) -> None:
        """Count it in."""
        where = decision.endpoint.hostport
        self._inflight[where] = self._peaks[decision.id] = self._inflight.get(where, 0) + 1

    def ended(self, decision: Decision, outcome: Any, /) -> None:
        """Count it out, and learn from how long its first token took."""
        where = decision.endpoint.hostport
        inflight = self._peaks.pop(decision.id, None)
        if inflight is None or where not in self._inflight:
            return
        self._inflight[where] = max(0, self._inflight[where] - 1)
        elsewhere = outcome.served_by not in ("", where)
        if outcome.ttft_seconds is None or elsewhere or outcome.status >= 400:
            return
        expected = _FIXED_SECONDS + decision.uncached_tokens / _TOKENS_PER_SECOND
        limit = self._limits.setdefault(where, ConcurrencyLimit(self.tolerance))
        limit.observe(max(0.0, outcome.ttft_seconds - decision.waited_seconds) / expected, inflight)

    def left(self, hostport: str, /) -> None:
        """Forget an endpoint: what comes back under its name begins anew."""
        self._limits.pop(hostport, None)
        self._inflight.pop(hostport, None)


_: type[Filter] = LearnedConcurrencyDetector
