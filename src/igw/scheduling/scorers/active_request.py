"""`active-request-scorer`: the fewer requests of ours are in flight there, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class ActiveRequestScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Scores 1 up to `idleThreshold`, else (max - n) / max * `maxBusyScore` over the candidates (upstream's formula).

    The count is reserved inside the pick, so the next pick already sees it, however old the scraped metrics are.
    """

    type: ClassVar[str] = "active-request-scorer"

    idle_threshold: int = 0
    """Requests in flight with which an endpoint still counts as idle; below 0 means 0."""
    max_busy_score: float = 1.0
    """The most a busy endpoint can score; outside of 0 to 1 it means 1."""
    in_flight_load_producer_name: str = ""
    """Accepted, without effect: there is one count, which the reservations keep."""
    request_timeout: str = ""
    """Accepted, without effect, as upstream does: a reservation ends by its outcome."""

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the in-flight column."""
        inflight = facts.inflight
        most = inflight.max()
        if most <= 0:
            return np.ones(len(inflight))
        scores: Column = (most - inflight) / most
        if 0.0 <= self.max_busy_score < 1.0:
            scores *= self.max_busy_score
        scores[inflight <= max(0, self.idle_threshold)] = 1.0
        return scores


_: type[Scorer] = ActiveRequestScorer
