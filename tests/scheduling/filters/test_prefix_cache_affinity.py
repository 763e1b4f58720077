"""`prefix-cache-affinity-filter` by table: stickiness, and what it may cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.scheduling.filters.prefix_cache_affinity import PrefixCacheAffinityFilter
from tests.scheduling.candidates import facts, plugin, request


def kept(
    matched: list[float], inflight: list[float] | None = None, total: int = 100, **parameters: Any
) -> list[int]:
    """Return who stays, as 0 and 1."""
    known = facts(
        len(matched),
        matched_tokens=matched,
        inflight_tokens=inflight or [0] * len(matched),
        prefix_tokens=total,
    )
    mask = plugin(PrefixCacheAffinityFilter, **parameters).keep(request(), known)
    return [int(each) for each in mask]


@pytest.mark.parametrize(
    ("matched", "parameters", "expected"),
    [
        pytest.param([80, 79, 0], {}, [1, 0, 0], id="at the threshold"),
        pytest.param([79, 79, 0], {}, [1, 1, 1], id="nobody reaches it"),
        pytest.param([90, 80, 85], {}, [1, 1, 1], id="everybody does"),
        pytest.param([80], {}, [1], id="one endpoint"),
        pytest.param([50, 49], {"affinityThreshold": 0.5}, [1, 0], id="another threshold"),
        pytest.param([100, 0], {"affinityThreshold": 0}, [1, 1], id="switched off"),
        pytest.param([100, 0], {"explorationProbability": 1}, [1, 1], id="always exploring"),
    ],
)
def test_who_has_most_of_the_prompt_stays(
    matched: list[float], parameters: dict[str, Any], expected: list[int]
) -> None:
    """Match / total against the threshold, nobody waiting anywhere."""
    assert kept(matched, **parameters) == expected


@pytest.mark.parametrize(
    ("inflight", "parameters", "expected"),
    [
        # 15,928 tokens/s: 18 s are 286,704 tokens.
        pytest.param([286_704, 0, 0], {}, [1, 0, 0], id="just worth the wait"),
        pytest.param([286_720, 0, 0], {}, [1, 1, 1], id="not worth it"),
        pytest.param([300_000, 0, 20_000], {}, [1, 1, 1], id="against the best of the others"),
        pytest.param([9e9, 0, 0], {"maxTTFTPenaltyMs": 0}, [1, 0, 0], id="the wait does not matter"),
        pytest.param(
            [1001, 0, 0], {"peakPrefillThroughput": 1000, "maxTTFTPenaltyMs": 1000}, [1, 1, 1], id="slow"
        ),
    ],
)
def test_a_long_wait_breaks_the_affinity(
    inflight: list[float], parameters: dict[str, Any], expected: list[int]
) -> None:
    """Tokens in flight / throughput, least of the sticky minus least of the others, against the penalty."""
    assert kept([100, 0, 0], inflight, **parameters) == expected


def test_a_prompt_without_a_full_block_sticks_to_nobody() -> None:
    """There is nothing to be cached."""
    assert kept([0, 0], total=0) == [1, 1]


def test_the_matches_may_be_another_producers() -> None:
    """By its name in the file."""
    known = facts(
        2, matched_tokens=[100, 0], prefix_tokens=100, prefixes={"precise": (np.array([0.0, 64.0]), 64)}
    )
    precise = plugin(PrefixCacheAffinityFilter, prefixMatchInfoProducerName="precise")
    assert precise.keep(request(), known).tolist() == [False, True]


def test_predicted_latency_comes_later() -> None:
    """And that is said, instead of deciding by something else."""
    with pytest.raises(ConfigError, match="comes later"):
        plugin(PrefixCacheAffinityFilter, ttftSource="latencyPredictor")


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 1_000_000)), min_size=1, max_size=8))
def test_somebody_always_stays_and_the_best_match_among_them(candidates: list[tuple[int, int]]) -> None:
    """Law: it leaves nobody out who has more of the prompt than somebody it keeps."""
    mask = kept([float(m) for m, _ in candidates], [float(t) for _, t in candidates])
    assert any(mask)
    worst = min(m for (m, _), keep in zip(candidates, mask, strict=True) if keep)
    assert all(keep or m < worst for (m, _), keep in zip(candidates, mask, strict=True))
