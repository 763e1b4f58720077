"""`utilization-detector`: is an endpoint, or the pool, full by its queue and KV memory? Filter, and measure of saturation."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.saturation import utilization, utilization_room, utilization_saturation


class UtilizationDetector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints whose metrics are fresh, with queue and KV usage below threshold * (1 + `headroom`); all when none is left.

    Fresh is what is not overdue by the pace at which we scrape, which adapts: a fixed age would call a quiet pool full.
    """

    type: ClassVar[str] = "utilization-detector"

    queue_depth_threshold: Annotated[float, Meta(gt=0)] = 5.0
    kv_cache_util_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.8
    """Share from 0 to 1."""
    metrics_staleness_threshold: Annotated[
        str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$")
    ] = "200ms"
    """Accepted, without effect: what is stale follows from the pace of the scrapes."""
    headroom: Annotated[float, Meta(ge=0)] = 0.0

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who has room."""
        room = utilization_room(
            facts.waiting,
            facts.kv_usage,
            self.queue_depth_threshold,
            self.kv_cache_util_threshold,
            self.headroom,
        )
        if len(facts.known):
            room &= facts.known
        return room if room.any() else np.ones(len(room), dtype=bool)

    def saturation(self, facts: Facts) -> float:
        """Return how full the pool is: 1 is full, more is possible. An endpoint whose metrics are not fresh counts as full."""
        stale = ~facts.known if len(facts.known) else None
        load = utilization(
            facts.waiting, facts.kv_usage, self.queue_depth_threshold, self.kv_cache_util_threshold, stale
        )
        return utilization_saturation(load)


_: type[Filter] = UtilizationDetector
