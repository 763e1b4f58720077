"""`utilization-detector` as filter and as measure, by table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from igw.errors import ConfigError
from igw.scheduling.filters.utilization_detector import UtilizationDetector
from tests.scheduling.candidates import facts, plugin, request


@pytest.mark.parametrize(
    ("waiting", "usage", "parameters", "kept"),
    [
        pytest.param([4, 5], [0, 0], {}, [1, 0], id="below 5 waiting"),
        pytest.param([0, 0], [0.79, 0.8], {}, [1, 0], id="below 80 % of memory"),
        pytest.param([5, 6], [0, 0], {"headroom": 0.2}, [1, 0], id="headroom on both"),
        pytest.param([9, 0], [0, 0.9], {}, [1, 1], id="nobody left is everybody"),
        pytest.param([4, 0], [0, 0], {"queueDepthThreshold": 1}, [0, 1], id="another threshold"),
    ],
)
def test_who_has_room_stays(
    waiting: list[float], usage: list[float], parameters: dict[str, Any], kept: list[int]
) -> None:
    """Strictly below both thresholds."""
    known = facts(2, waiting=waiting, kv_usage=usage)
    mask = plugin(UtilizationDetector, **parameters).keep(request(), known)
    assert mask.astype(int).tolist() == kept


def test_an_endpoint_that_is_silent_has_no_room_unless_all_are() -> None:
    """Its numbers are the others', so nothing speaks for it."""
    detector = plugin(UtilizationDetector)
    some = facts(2, known=np.array([True, False]))
    assert detector.keep(request(), some).tolist() == [True, False]
    assert detector.keep(request(), facts(2, known=np.array([False, False]))).all()


def test_saturation_is_the_mean_of_the_worse_share() -> None:
    """max(10/5, 0.4/0.8) = 2 and max(0, 0.4/0.8) = 0.5; a silent endpoint counts as full."""
    detector = plugin(UtilizationDetector)
    known = facts(2, waiting=[10, 0], kv_usage=[0.4, 0.4])
    assert detector.saturation(known) == pytest.approx(1.25)
    silent = facts(2, waiting=[10, 0], kv_usage=[0.4, 0.4], known=np.array([True, False]))
    assert detector.saturation(silent) == pytest.approx(1.5)


@pytest.mark.parametrize("written", ["200ms", "1.5s", "1m30s", "2h"])
def test_a_staleness_is_a_duration_as_go_writes_it(written: str) -> None:
    """It is checked though it decides nothing."""
    assert (
        plugin(UtilizationDetector, metricsStalenessThreshold=written).metrics_staleness_threshold == written
    )
    with pytest.raises(ConfigError):
        plugin(UtilizationDetector, metricsStalenessThreshold=written + " ago")
