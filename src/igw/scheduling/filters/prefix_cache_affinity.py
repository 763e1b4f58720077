"""`prefix-cache-affinity-filter`: the endpoints that hold most of the prompt, unless waiting for them costs too much."""

from __future__ import annotations

import random
from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta, field

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask


class PrefixCacheAffinityFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints whose share of matched tokens is `affinityThreshold` or more.

    All stay when nobody has such a share, when the least TTFT among them is more than `maxTTFTPenaltyMs` above that of the others, and
    with `explorationProbability`. TTFT is prompt tokens in flight / `peakPrefillThroughput` (upstream's rule).
    """

    type: ClassVar[str] = "prefix-cache-affinity-filter"

    affinity_threshold: float = 0.8
    """Not above 0: the filter keeps everybody."""
    exploration_probability: Annotated[float, Meta(ge=0, le=1)] = 0.0
    max_ttft_penalty_ms: Annotated[float, Meta(ge=0)] = field(default=18_000.0, name="maxTTFTPenaltyMs")
    """0: the wait does not matter."""
    ttft_source: Literal["prefillThroughput", "latencyPredictor"] = "prefillThroughput"
    """`latencyPredictor` comes with latency prediction; until then it is an error."""
    peak_prefill_throughput: Annotated[float, Meta(gt=0)] = 15_928.0
    """Tokens per second."""
    prefix_match_info_producer_name: str = ""
    """Whose matches; the approximate index's where it is empty."""
    latency_prediction_info_producer_name: str = ""
    """Accepted, without effect."""
    in_flight_load_producer_name: str = ""
    """Accepted, without effect: there is one count, which the reservations keep."""

    def __post_init__(self) -> None:
        if self.ttft_source == "latencyPredictor":
            raise ValueError(
                "ttftSource latencyPredictor needs latency prediction, which comes later: use prefillThroughput"
            )

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who has the prompt."""
        everybody = np.ones(len(facts.inflight), dtype=bool)
        if len(everybody) <= 1 or self.affinity_threshold <= 0.0:
            return everybody
        matched, total = facts.prefix(self.prefix_match_info_producer_name)
        sticky: Mask = matched >= self.affinity_threshold * total
        if not total or not sticky.any() or sticky.all():
            return everybody
        if self.exploration_probability and random.random() < self.exploration_probability:
            return everybody
        return everybody if self._too_slow(facts.inflight_tokens, sticky) else sticky

    def _too_slow(self, inflight_tokens: Column, sticky: Mask) -> bool:
        if not self.max_ttft_penalty_ms or not len(inflight_tokens):
            return False
        tokens = inflight_tokens[sticky].min() - inflight_tokens[~sticky].min()
        return bool(tokens / self.peak_prefill_throughput * 1000.0 > self.max_ttft_penalty_ms)


_: type[Filter] = PrefixCacheAffinityFilter
