"""`round-robin-picker`: each candidate in turn. Ours; the baseline that every policy is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from igw.facts import Column, Facts
from igw.scheduling.api import Picker


class RoundRobinPicker(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Takes candidates in turn, in pool order. Owner of its turn."""

    type: ClassVar[str] = "round-robin-picker"

    max_num_of_endpoints: int = 1

    def __post_init__(self) -> None:
        self._turn = itertools.count()  # no field: what is a field is a parameter

    def pick(self, totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Return the candidate whose turn it is, then those after it."""
        count, start = len(totals), next(self._turn)
        return [(start + step) % count for step in range(min(max(1, self.max_num_of_endpoints), count))]


_: type[Picker] = RoundRobinPicker
