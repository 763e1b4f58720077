"""`priority-holdback-policy`: the lower the priority, the lower the ceiling, so that there is room left for what matters more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from igw.flow.api import UsageLimit


class PriorityHoldback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Linear from `maxCeiling` for the highest band to `minCeiling` for the lowest."""

    type: ClassVar[str] = "priority-holdback-policy"
    needs_saturation: ClassVar[bool] = False
    headroom: ClassVar[None] = None

    min_ceiling: Annotated[float, Meta(ge=0)]
    max_ceiling: Annotated[float, Meta(gt=0)] = 1.0
    shape: Literal["linear"] = "linear"
    domain: Literal["rank", "value"] = "rank"
    """What it is linear in: the band's place, or the number that its priority is."""

    def __post_init__(self) -> None:
        if self.min_ceiling > self.max_ceiling:
            raise ValueError(f"minCeiling {self.min_ceiling} is above maxCeiling {self.max_ceiling}")

    def ceilings(self, priorities: Sequence[int], _saturation: float, _turn: int, /) -> list[float]:
        """Return them; a single band has the highest."""
        if len(priorities) < 2:
            return [self.max_ceiling] * len(priorities)
        span = self.max_ceiling - self.min_ceiling
        if self.domain == "rank":
            return [self.max_ceiling - rank * span / (len(priorities) - 1) for rank in range(len(priorities))]
        highest, lowest = priorities[0], priorities[-1]
        return [self.max_ceiling - (highest - each) * span / (highest - lowest) for each in priorities]


_: type[UsageLimit] = PriorityHoldback
