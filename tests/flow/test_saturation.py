"""How full candidates are, with what the metrics cannot show."""

from __future__ import annotations

import numpy as np

from igw.facts import Facts
from igw.flow.saturation import saturation
from igw.scheduling.filters.utilization_detector import UtilizationDetector

DETECTOR = UtilizationDetector()


def facts(
    inflight: list[float], *, waiting: float = 0.0, running: float = 0.0, known: list[bool] | None = None
) -> Facts:
    """Return facts of endpoints that are alike but for what is in flight."""
    count = len(inflight)
    return Facts(
        waiting=np.full(count, waiting),
        running=np.full(count, running),
        kv_usage=np.zeros(count),
        inflight=np.array(inflight),
        matched_tokens=np.zeros(count),
        known=np.array([True] * count if known is None else known),
    )


def test_what_was_sent_since_the_last_scrape_counts() -> None:
    """A burst between two scrapes does not overshoot (fault F1): five is a full queue."""
    assert saturation(DETECTOR, facts([0.0])) == 0.0
    assert saturation(DETECTOR, facts([5.0])) == 1.0
    assert saturation(DETECTOR, facts([5.0], running=5.0)) == 0.0
    assert saturation(DETECTOR, facts([5.0], running=4.0, waiting=1.0)) == 0.2


def test_only_the_candidates_count() -> None:
    """An idle subset is not full because the pool is (fault F3)."""
    assert saturation(DETECTOR, facts([10.0, 0.0])) == 1.0
    assert saturation(DETECTOR, facts([0.0])) == 0.0


def test_metrics_that_are_all_stale_stop_nothing() -> None:
    """What is in flight counts instead (fault F2), against what was learnt or upstream's hundred."""
    stale = facts([10.0, 30.0], known=[False, False])
    assert DETECTOR.saturation(stale) == 1.0
    assert saturation(DETECTOR, stale) == 0.2
    assert saturation(DETECTOR, stale, np.array([10.0, 30.0])) == 1.0


def test_one_endpoint_that_is_stale_counts_as_full() -> None:
    """Upstream's rule, as long as there are others."""
    assert saturation(DETECTOR, facts([0.0, 0.0], known=[True, False])) == 0.5


def test_no_candidates_are_full() -> None:
    """There is no room where there is nobody."""
    assert saturation(DETECTOR, facts([])) == 1.0
