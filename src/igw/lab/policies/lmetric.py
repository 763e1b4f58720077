"""`lmetric`: the product of prefill work and batch size (Zhang et al., "LMetric", arXiv 2603.15202)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from igw.decision import Decision
from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.prefills import Prefills
from igw.lab.policies.ranking import choose
from igw.outcomes.outcome import Outcome
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class LMetric:
    """Cost: (uncached prompt tokens, those queued there and this request's) x (requests there + 1). No weights to set.

    The 1 is this request: without it an empty endpoint would cost nothing whatever it has to compute.
    """

    setting: Setting
    watches_answers: ClassVar[bool] = True
    _prefills: Prefills = field(default_factory=Prefills, init=False)

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the candidates of the smallest product."""
        own = np.maximum(1.0, request.prompt_tokens - facts.matched_tokens)
        tokens = self._prefills.column(facts.endpoints) + own
        return choose({"tokens x batch": -tokens * (facts.inflight + 1.0)}, self.setting.rng)

    def decided(self, decision: Decision) -> None:
        """Count the uncached tokens as queued."""
        self._prefills.begin(decision)

    def first_token(self, decision: Decision) -> None:
        """Count them out: the prompt is computed."""
        self._prefills.end(decision)

    def ended(self, decision: Decision, _outcome: Outcome) -> None:
        """Count them out if nobody told of a first token."""
        self._prefills.end(decision)
