"""`near-tie-picker`: candidates about as good as the best are equal, and the one with the coldest cache takes the request. Ours."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.scheduling.api import Picker


class NearTiePicker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Takes, among the totals of at least `best / (1 + near_tie)`, one whose cache has room, else whose oldest entry is oldest.

    What is decided by rounding and learned noise alone would send new sessions where others are about to come back.
    """

    type: ClassVar[str] = "near-tie-picker"
    needs_work: ClassVar[bool] = True

    near_tie: float = 0.1
    """With `marginal-work-scorer`: how much more than the best a candidate may cost, as a share of this request's own prefill there."""
    max_num_of_endpoints: int = 1
    """How many to take: the first serves, the others, next best by total, are named for retries."""

    def pick(self, totals: Column, facts: Facts, /) -> Sequence[int]:
        """Return the coldest of the best, then those of the next best totals; *totals* is written to."""
        picked = [self._coldest(totals, facts.oldest_use)]
        for _ in range(min(self.max_num_of_endpoints, len(totals)) - 1):
            totals[picked[-1]] = -np.inf
            picked.append(int(totals.argmax()))
        return picked

    def _coldest(self, totals: Column, oldest_use: Column) -> int:
        # `item`, `argmax` and `nonzero` are NumPy's quick ways: `max` and `flatnonzero` go through Python.
        best = totals.item(totals.argmax())
        slack = abs(best) * self.near_tie / (1.0 + self.near_tie)
        (near,) = (totals >= best - slack).nonzero()
        if len(near) > 1 and len(oldest_use):
            ages = oldest_use[near]
            near = near[ages == ages.item(ages.argmin())]
        return int(near[0] if len(near) == 1 else near[int(random.random() * len(near))])


_: type[Picker] = NearTiePicker
