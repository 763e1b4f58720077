"""`marginal-work-scorer`: the less delay a request adds to itself and to others, in seconds, the better. Ours."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer

_LEAST_SECONDS = 1e-3
"""Prefill that is shorter is as short as this: what differs by less is noise."""


class MarginalWorkScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores 1 / (1 + (cost - least cost) / own cost of the best), so that half is one prefill of this request worse than the best.

    `Facts.cost` has the costs, in seconds; `igw.work.cost` how they come about. Without them everybody scores 1.
    """

    type: ClassVar[str] = "marginal-work-scorer"
    needs_work: ClassVar[bool] = True

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the cost column."""
        cost = facts.cost
        if not len(cost):
            return np.ones(len(facts.inflight))
        best = cost.argmin()
        own = max(facts.own_cost.item(best), _LEAST_SECONDS)
        return own / (cost - cost[best] + own)  # type: ignore[no-any-return]


_: type[Scorer] = MarginalWorkScorer
