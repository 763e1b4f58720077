"""`soft-reflective-ceiling-policy`: the fuller the pool, the lower the ceilings of lower bands, but never closed for good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from igw.flow.api import UsageLimit


class SoftReflectiveCeiling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Band i of N may fill the pool to 1 - i * saturation / (N - 1); where that is reached it is let through every so many turns."""

    type: ClassVar[str] = "soft-reflective-ceiling-policy"
    needs_saturation: ClassVar[bool] = True
    headroom: ClassVar[None] = None

    def ceilings(self, priorities: Sequence[int], saturation: float, turn: int, /) -> list[float]:
        """Return them; in every round(saturation / (1 - saturation))-th turn all are 1."""
        if len(priorities) < 2:
            return [1.0] * len(priorities)
        ceilings = [1.0 - rank * saturation / (len(priorities) - 1) for rank in range(len(priorities))]
        if saturation >= 1.0 or turn % max(1, math.floor(saturation / (1.0 - saturation) + 0.5)):
            return ceilings
        return [1.0 if saturation >= ceiling else ceiling for ceiling in ceilings]


_: type[UsageLimit] = SoftReflectiveCeiling
