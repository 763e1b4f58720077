"""`session-affinity-scorer`: the endpoint that served a session before is preferred, and others may still win."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer
from igw.scheduling.sessions import SessionAffinity


class SessionAffinityScorer(SessionAffinity):
    """Scores 1 for the endpoint that the session is bound to, 0 for the others."""

    type: ClassVar[str] = "session-affinity-scorer"

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score the bound one."""
        scores = np.zeros(len(facts.inflight))
        if (bound := self.bound(request, facts)) is not None:
            scores[bound] = 1.0
        return scores


_: type[Scorer] = SessionAffinityScorer
