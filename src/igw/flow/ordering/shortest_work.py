"""`shortest-work-ordering-policy`: the least work first, and whoever waits gets nearer to the front."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.flow.api import Item, Ordering


class ShortestWork(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """By work where it is least, minus `ageing` times the seconds waited. Ours, the default."""

    type: ClassVar[str] = "shortest-work-ordering-policy"
    overtakes: ClassVar[bool] = True

    ageing: Annotated[float, Meta(ge=0)] = 0.2
    """Seconds of work that a second of waiting is worth: less is better in the mean, more for the slowest."""
    guard_seconds: Annotated[float, Meta(ge=0)] = 30.0
    """After this and `guardFactor` times its work it goes before all others of its flow, and they cannot pass it at its endpoint."""
    guard_factor: Annotated[float, Meta(ge=0)] = 5.0
    tries: Annotated[int, Meta(ge=1)] = 48
    """How many are asked for, when those before them do not fit."""
    refreshed: Annotated[int, Meta(ge=0)] = 24
    """How many of the first ones are weighed anew in each pass: caches change."""

    def rank(self, _item: Item, arrived_at: float, _expires_at: float, work_seconds: float, /) -> float:
        """Rank by work and arrival: at any time the same order as by work minus ageing."""
        return work_seconds + self.ageing * arrived_at

    def starves_at(self, arrived_at: float, work_seconds: float, /) -> float:
        """Return when the guard steps in."""
        return arrived_at + self.guard_seconds + self.guard_factor * work_seconds


_: type[Ordering] = ShortestWork
