"""`static-usage-limit-policy`: the same ceiling for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.flow.api import UsageLimit


class StaticLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ceiling (upstream's default)."""

    type: ClassVar[str] = "static-usage-limit-policy"
    needs_saturation: ClassVar[bool] = False
    headroom: ClassVar[None] = None

    threshold: Annotated[float, Meta(gt=0)] = 1.0

    def ceilings(self, priorities: Sequence[int], _saturation: float, _turn: int, /) -> list[float]:
        """Return the threshold for each."""
        return [self.threshold] * len(priorities)


_: type[UsageLimit] = StaticLimit
