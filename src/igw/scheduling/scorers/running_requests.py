"""`running-requests-size-scorer`: the smaller the engine's batch, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class RunningRequestsSizeScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores (max - r) / (max - min) over the candidates; 1 for all when they are equal (upstream's formula)."""

    type: ClassVar[str] = "running-requests-size-scorer"

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the running column."""
        running = facts.running
        most = running.max()
        span = most - running.min()
        if span == 0:
            return np.ones(len(running))
        return (most - running) / span  # type: ignore[no-any-return]


_: type[Scorer] = RunningRequestsSizeScorer
