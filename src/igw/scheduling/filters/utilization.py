"""`utilization-filter`: endpoints below a maximum, for each of several measures."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
import numpy as np

from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask

_COLUMNS = {
    "active-requests": "inflight",
    "running-requests": "running",
    "waiting-queue": "waiting",
    "kv-cache-utilization": "kv_usage",
}


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A measure and the most it may be; `kv-cache-utilization` is a share from 0 to 1."""

    metric: Literal["active-requests", "running-requests", "waiting-queue", "kv-cache-utilization"]
    max_value: float


class UtilizationFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints that meet every condition. One that has not reported is taken for an average one, not for an idle one."""

    type: ClassVar[str] = "utilization-filter"

    conditions: list[Condition] = []
    fallback_on_empty: bool = False
    """Whether all are kept when none would be."""
    in_flight_load_producer_name: str = ""
    """Accepted, without effect: there is one count, which the reservations keep."""

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who is below every maximum."""
        below: Mask = np.ones(len(facts.inflight), dtype=bool)
        for condition in self.conditions:
            below &= getattr(facts, _COLUMNS[condition.metric]) <= condition.max_value
        if self.fallback_on_empty and not below.any():
            return ~below
        return below


_: type[Filter] = UtilizationFilter
