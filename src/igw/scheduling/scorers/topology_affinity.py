"""`topology-affinity-scorer`: the nearer to the endpoint that another profile has picked for the same request, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer
from igw.scheduling.topology import distance

_SCORES = (1.0, 0.2, 0.05, 0.02, 0.0)
"""By `topology.distance`: same host, rack, zone, region, none."""


class TopologyAffinityScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Scores 1 on the host of `Facts.peer`, 0.2 in its rack, 0.05 in its zone, 0.02 in its region, else 0 (upstream's curve)."""

    type: ClassVar[str] = "topology-affinity-scorer"

    topology_producer_name: str = ""
    """Accepted, without effect: places are read from the endpoints' labels."""

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by place; 0 for all without a peer."""
        peer = facts.peer
        if peer is None:
            return np.zeros(len(facts.inflight))
        return np.array([_SCORES[distance(endpoint, peer)] for endpoint in facts.endpoints])


_: type[Scorer] = TopologyAffinityScorer
