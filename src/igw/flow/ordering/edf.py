"""`edf-ordering-policy`: earliest deadline first, by how long a request may wait."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.flow.api import Item, Ordering


class Edf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By the time at which its waiting would end as things were at arrival; who may wait for ever comes last."""

    type: ClassVar[str] = "edf-ordering-policy"
    tries: ClassVar[int] = 1
    refreshed: ClassVar[int] = 0
    overtakes: ClassVar[bool] = False

    def rank(self, _item: Item, _arrived_at: float, expires_at: float, _work_seconds: float, /) -> float:
        """Rank by expiry."""
        return expires_at

    def starves_at(self, arrived_at: float, _work_seconds: float, /) -> float:
        """Give other flows half a minute to pass it while it does not fit."""
        return arrived_at + 30.0


_: type[Ordering] = Edf
