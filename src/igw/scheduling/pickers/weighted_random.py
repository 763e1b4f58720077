"""`weighted-random-picker`: the better a candidate's total, the likelier it is taken."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.facts import Column, Facts
from igw.scheduling.api import Picker

_LEAST = 5e-324


class WeightedRandomPicker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Draws candidates without putting them back, in proportion to their totals (Efraimidis and Spirakis' A-Res, as upstream).

    Candidates whose total is not above 0 are drawn only when no other is, and are never named for retries beside others.
    """

    type: ClassVar[str] = "weighted-random-picker"

    max_num_of_endpoints: int = 1
    """How many to take: the first serves, the others are named for retries."""
    temperature: Annotated[float, Meta(ge=0)] = 0.0
    """Ours. Above 0 weights are exp(total / temperature), so small differences can be made to matter; 0 is upstream."""

    def pick(self, totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Return different candidates in the order in which they were drawn."""
        count = min(max(1, self.max_num_of_endpoints), len(totals))
        weights = self._weights(totals)
        (able,) = np.nonzero(weights > 0.0)
        if not len(able):
            return random.sample(range(len(totals)), count)
        # U^(1/w) is greatest where -log(U) / w is least; its logarithm is exact for small weights too.
        waits = -np.log1p([-random.random() for _ in range(len(able))])
        waits = np.log(np.maximum(waits, _LEAST)) - np.log(weights[able])
        drawn: list[int] = able[np.argsort(waits)[:count]].tolist()
        return drawn

    def _weights(self, totals: Column) -> Column:
        if self.temperature == 0.0:
            return totals
        weights: Column = np.exp((totals - totals.max()) / self.temperature)
        return weights


_: type[Picker] = WeightedRandomPicker
