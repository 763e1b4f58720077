"""`concurrency-detector` as filter and as measure, by table."""

from __future__ import annotations

from typing import Any

import pytest

from igw.scheduling.filters.concurrency_detector import ConcurrencyDetector
from tests.scheduling.candidates import facts, plugin, request

THREE = facts(3, inflight=[1, 10, 3], inflight_tokens=[500, 20, 90])
LIMITS = {"maxConcurrency": 10, "maxTokenConcurrency": 100}


@pytest.mark.parametrize(
    ("parameters", "kept", "saturation"),
    [
        # means: 14/3 requests, 610/3 tokens
        pytest.param({}, [1, 0, 1], 14 / 30, id="requests"),
        pytest.param({"concurrencyMode": "tokens"}, [0, 1, 1], 610 / 300, id="tokens"),
        pytest.param({"concurrencyMode": "hybrid"}, [0, 0, 1], 610 / 300, id="both"),
        pytest.param({"headroom": 0.1}, [1, 1, 1], 14 / 30, id="headroom is for the filter only"),
        pytest.param({"maxConcurrency": 1}, [0, 0, 0], 14 / 3, id="nobody may be left"),
    ],
)
def test_who_is_below_the_limit_stays(parameters: dict[str, Any], kept: list[int], saturation: float) -> None:
    """What we have in flight ourselves, which no scrape can make old."""
    detector = plugin(ConcurrencyDetector, **LIMITS | parameters)
    assert detector.keep(request(), THREE).astype(int).tolist() == kept
    assert detector.saturation(THREE) == pytest.approx(saturation)
