"""`keep-headroom-policy`: room that more important work used lately stays free of work that can wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.flow.api import Headroom, UsageLimit


class KeepHeadroom(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Everybody may fill the pool, but those below a priority leave as much free as those above them had at once lately."""

    type: ClassVar[str] = "keep-headroom-policy"
    needs_saturation: ClassVar[bool] = False

    window_seconds: Annotated[float, Meta(gt=0)] = 30.0
    """For how long it is remembered."""
    max_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Of the room: no more than this is kept, so that the others do not stand still after a rush."""
    below: int = 0
    """Priorities below this one leave room; by default those that are sheddable."""

    def ceilings(self, priorities: Sequence[int], _saturation: float, _turn: int, /) -> list[float]:
        """Return 1 for each."""
        return [1.0] * len(priorities)

    @property
    def headroom(self) -> Headroom:
        """Return what is kept, and from whom."""
        return Headroom(self.window_seconds, self.max_share, self.below)


_: type[UsageLimit] = KeepHeadroom
