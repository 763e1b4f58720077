"""`random-picker`: every candidate is as good as any other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from igw.facts import Column, Facts
from igw.scheduling.api import Picker


class RandomPicker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Takes candidates at random, whatever their totals."""

    type: ClassVar[str] = "random-picker"

    max_num_of_endpoints: int = 1

    def pick(self, totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Return different candidates in random order."""
        return random.sample(range(len(totals)), min(max(1, self.max_num_of_endpoints), len(totals)))


_: type[Picker] = RandomPicker
