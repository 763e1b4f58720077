"""One scheduling profile: weighted scorers, summed, and a picker. The engine does not know its plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Picker, Scorer


class Weighted(msgspec.Struct, frozen=True):
    """A scorer as one profile uses it."""

    name: str
    scorer: Scorer
    weight: float


class Choice(msgspec.Struct, frozen=True):
    """What a scheduler chose: candidate indices, best first, and the weighted columns they were chosen by."""

    picked: Sequence[int]
    scores: Mapping[str, Column]


class Scheduler(msgspec.Struct, frozen=True):
    """Picks among the candidates of one request by the sum of weighted scores."""

    scorers: tuple[Weighted, ...]
    picker: Picker

    def pick(self, request: Request, facts: Facts) -> Choice:
        """Return the best candidates for *request*; *facts* has one entry per candidate and at least one."""
        totals = np.zeros(len(facts.inflight))
        scores: dict[str, Column] = {}
        for weighted in self.scorers:
            column = weighted.scorer.score(request, facts) * weighted.weight
            scores[weighted.name] = column
            totals += column
        return Choice(self.picker.pick(totals), scores)
