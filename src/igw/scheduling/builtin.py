"""Which scheduling plugins there are, by type, and the default profile made of them."""

from __future__ import annotations

from typing import Any

from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.pickers.random_order import RandomPicker
from igw.scheduling.pickers.round_robin import RoundRobinPicker
from igw.scheduling.profile import Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.active_request import ActiveRequestScorer
from igw.scheduling.scorers.kv_cache import KvCacheUtilizationScorer
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer
from igw.scheduling.scorers.queue import QueueScorer

SCORERS: dict[str, type[Any]] = {
    plugin.type: plugin
    for plugin in (QueueScorer, KvCacheUtilizationScorer, PrefixCacheScorer, ActiveRequestScorer)
}

PICKERS: dict[str, type[Any]] = {
    plugin.type: plugin for plugin in (MaxScorePicker, RandomPicker, RoundRobinPicker)
}


def default() -> Scheduler:
    """Return upstream's default weights (queue 2, KV 2, prefix 3) plus the load reserved inside the pick.

    The second endpoint picked is where the proxy retries when the first refuses the connection.
    """
    return Scheduler.of(
        scorers=(
            Weighted("queue-scorer", QueueScorer(), 2.0),
            Weighted("kv-cache-utilization-scorer", KvCacheUtilizationScorer(), 2.0),
            Weighted("prefix-cache-scorer", PrefixCacheScorer(), 3.0),
            Weighted("active-request-scorer", ActiveRequestScorer(), 2.0),
        ),
        picker=MaxScorePicker(max_num_of_endpoints=2),
    )
