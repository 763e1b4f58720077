"""`utilization-filter` by table."""

from __future__ import annotations

from typing import Any

import pytest

from igw.errors import ConfigError
from igw.scheduling.filters.utilization import UtilizationFilter
from tests.scheduling.candidates import facts, plugin, request

THREE = facts(3, inflight=[1, 5, 9], running=[2, 2, 4], waiting=[0, 3, 1], kv_usage=[0.9, 0.1, 0.5])


def conditions(**most: float) -> list[dict[str, Any]]:
    """Return conditions by metric, `_` for `-`."""
    return [{"metric": name.replace("_", "-"), "maxValue": value} for name, value in most.items()]


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        ({"active_requests": 5}, [1, 1, 0]),
        ({"running_requests": 2}, [1, 1, 0]),
        ({"waiting_queue": 0}, [1, 0, 0]),
        ({"kv_cache_utilization": 0.5}, [0, 1, 1]),
        ({"kv_cache_utilization": 0.5, "active_requests": 5}, [0, 1, 0]),
        ({"kv_cache_utilization": 0.5, "waiting_queue": 0}, [0, 0, 0]),
        ({}, [1, 1, 1]),
    ],
)
def test_who_meets_every_condition_stays(most: dict[str, float], kept: list[int]) -> None:
    """At the maximum is below it."""
    mask = plugin(UtilizationFilter, conditions=conditions(**most)).keep(request(), THREE)
    assert mask.astype(int).tolist() == kept


def test_when_nobody_is_below_all_may_stay() -> None:
    """If the file says so."""
    full = conditions(active_requests=0)
    assert plugin(UtilizationFilter, conditions=full, fallbackOnEmpty=True).keep(request(), THREE).all()


def test_a_metric_that_is_none_is_refused() -> None:
    """With the nearest that is one."""
    with pytest.raises(ConfigError, match="did you mean waiting-queue"):
        plugin(UtilizationFilter, conditions=[{"metric": "waiting", "maxValue": 1}])
