"""`fcfs-ordering-policy`: first come, first served."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.flow.api import Item, Ordering


class Fcfs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By time of arrival; nobody passes anybody of its own flow (upstream's default)."""

    type: ClassVar[str] = "fcfs-ordering-policy"
    tries: ClassVar[int] = 1
    refreshed: ClassVar[int] = 0
    overtakes: ClassVar[bool] = False

    def rank(self, _item: Item, arrived_at: float, _expires_at: float, _work_seconds: float, /) -> float:
        """Rank by arrival."""
        return arrived_at

    def starves_at(self, arrived_at: float, _work_seconds: float, /) -> float:
        """Give other flows half a minute to pass it while it does not fit."""
        return arrived_at + 30.0


_: type[Ordering] = Fcfs
