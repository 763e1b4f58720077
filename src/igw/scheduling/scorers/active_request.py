"""`active-request-scorer`: the fewer requests of ours are in flight there, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class ActiveRequestScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores (max - n) / max over the candidates; 1 where nothing is in flight (upstream's formula at its defaults).

    The count is reserved inside the pick, so the next pick already sees it, however old the scraped metrics are.
    """

    type: ClassVar[str] = "active-request-scorer"

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the in-flight column."""
        inflight = facts.inflight
        most = inflight.max()
        if most <= 0:
            return np.ones(len(inflight))
        return (most - inflight) / most  # type: ignore[no-any-return]


_: type[Scorer] = ActiveRequestScorer
