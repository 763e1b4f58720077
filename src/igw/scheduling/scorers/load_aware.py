"""`load-aware-scorer`: the further the waiting queue is from a threshold, the better; an empty one is worth a half."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer

_DEFAULT_THRESHOLD = 128


class LoadAwareScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores 0.5 * (1 - min(q, threshold) / threshold) (upstream's formula): never more than a half.

    Unlike the queue scorer it does not look at the other candidates, so a difference of one request stays small.
    """

    type: ClassVar[str] = "load-aware-scorer"

    threshold: int = _DEFAULT_THRESHOLD
    """Waiting requests at which the score is 0; the default where it is not above 0."""

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the waiting column."""
        threshold = self.threshold if self.threshold > 0 else _DEFAULT_THRESHOLD
        return 0.5 * (1.0 - np.minimum(facts.waiting, threshold) / threshold)


_: type[Scorer] = LoadAwareScorer
