"""`probabilistic-admitter`: the fuller the pool, the more requests of priority below 0 are turned away."""

from __future__ import annotations

import random
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.errors import Shed
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Admitter
from igw.scheduling.saturation import utilization, utilization_saturation


class ProbabilisticAdmitter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Turns a request of priority below 0 away with probability min(saturation^power * k, 1) (upstream's formula).

    Saturation is the mean over the endpoints of the worse of waiting / `queueDepthThreshold` and KV usage /
    `kvCacheUtilThreshold`. The client gets 429, where upstream answers 500.
    """

    type: ClassVar[str] = "probabilistic-admitter"

    queue_depth_threshold: Annotated[float, Meta(gt=0)] = 5.0
    kv_cache_util_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.8
    power: Annotated[float, Meta(gt=0)] = 5.0
    k: Annotated[float, Meta(gt=0)] = 300.0

    def admit(self, request: Request, facts: Facts, /) -> None:
        """Draw, if the request may be shed.

        Raises:
            Shed: it drew a blank.
        """
        if request.priority >= 0:
            return
        load = utilization(
            facts.waiting, facts.kv_usage, self.queue_depth_threshold, self.kv_cache_util_threshold
        )
        saturation = utilization_saturation(load)
        if random.random() < saturation**self.power * self.k:
            raise Shed(f"the pool is {saturation:.0%} full and the request's priority is {request.priority}")


_: type[Admitter] = ProbabilisticAdmitter
