"""`max-score-picker`: the best total wins, ties break at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.scheduling.api import Picker

_TIE = 1e-9  # totals this close differ by rounding only


class MaxScorePicker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Takes the best candidates by total, best first."""

    type: ClassVar[str] = "max-score-picker"

    max_num_of_endpoints: int = 1
    """How many to take: the first serves, the others are named for retries."""

    def pick(self, totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Return the best by *totals*, best first; *totals* is written to."""
        picked: list[int] = []
        for _ in range(min(max(1, self.max_num_of_endpoints), len(totals))):
            best = np.flatnonzero(totals >= totals.max() - _TIE)
            choice = int(best[0] if len(best) == 1 else best[int(random.random() * len(best))])
            picked.append(choice)
            totals[choice] = -np.inf
        return picked


_: type[Picker] = MaxScorePicker
