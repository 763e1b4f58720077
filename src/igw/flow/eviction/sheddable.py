"""`sheddable-eviction-filter`: only what may be shed may be given up."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.flow.api import EvictionFilter


class Sheddable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests of priority below 0."""

    type: ClassVar[str] = "sheddable-eviction-filter"

    def evictable(self, priority: int, /) -> bool:
        """Return whether it is below 0."""
        return priority < 0


_: type[EvictionFilter] = Sheddable
