"""`topology-affinity-filter`: endpoints near to the one that another profile has picked for the same request."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
import numpy as np

from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.topology import LEVELS, distance


class TopologyAffinityFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints that share the level `minAffinity` with `Facts.peer`, or a nearer one.

    All stay without a peer, and when nobody is as near, as where nothing is known of anybody's place.
    """

    type: ClassVar[str] = "topology-affinity-filter"

    min_affinity: Literal["host", "rack", "zone", "region"] = "host"
    topology_producer_name: str = ""
    """Accepted, without effect: places are read from the endpoints' labels."""

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who is near."""
        peer, farthest = facts.peer, LEVELS.index(self.min_affinity)
        if peer is None:
            return np.ones(len(facts.inflight), dtype=bool)
        near = np.array([distance(endpoint, peer) <= farthest for endpoint in facts.endpoints])
        return near if near.any() else ~near


_: type[Filter] = TopologyAffinityFilter
