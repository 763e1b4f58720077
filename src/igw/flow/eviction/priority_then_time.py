"""`priority-then-time-eviction-order-policy`: what matters least first, and of that what has run the shortest."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.flow.api import EvictionOrder


class PriorityThenTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest priority, then the newest: it has the least work to lose."""

    type: ClassVar[str] = "priority-then-time-eviction-order-policy"

    def victim_rank(self, priority: int, dispatched_at: float, /) -> tuple[float, ...]:
        """Return the rank; the least goes first."""
        return (priority, -dispatched_at)


_: type[EvictionOrder] = PriorityThenTime
