"""`running-requests-size-scorer`: the smaller the engine's batch, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer
from igw.scheduling.least_first import least_first


class RunningRequestsSizeScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores (max - r) / (max - min) over the candidates; 1 for all when they are equal (upstream's formula)."""

    type: ClassVar[str] = "running-requests-size-scorer"

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the running column."""
        return least_first(facts.running)


_: type[Scorer] = RunningRequestsSizeScorer
