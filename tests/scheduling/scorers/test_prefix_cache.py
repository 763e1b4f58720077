"""`prefix-cache-scorer` by table."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.prefix_cache import PrefixCacheScorer

REQUEST = Request(Head("/", "GET", {}))


def facts_of(matched: list[float], tokens: int) -> Facts:
    """Return facts with these matches."""
    none = np.zeros(len(matched))
    return Facts(none, none, none, none, np.array(matched, dtype=float), range(3), tokens)


@pytest.mark.parametrize(
    ("matched", "tokens", "scores"),
    [
        ([0, 128, 256], 256, [0, 0.5, 1]),
        ([64], 128, [0.5]),
        ([0, 0], 0, [0, 0]),
    ],
)
def test_the_score_is_the_share_of_the_prompt_that_is_cached(
    matched: list[float], tokens: int, scores: list[float]
) -> None:
    """Matched / total tokens, however many blocks they are; a prompt without a full block prefers nobody."""
    assert PrefixCacheScorer().score(REQUEST, facts_of(matched, tokens)).tolist() == scores


@pytest.mark.parametrize(
    ("weight", "scale", "matched", "tokens", "scores"),
    [
        (1.0, 1000, [0, 500, 1000, 2000], 2000, [0, 0.25, 1, 1]),
        (0.5, 1000, [0, 500, 1000], 1000, [0, 0.375, 1]),
        (0.5, 8192, [4096], 8192, [0.375]),
        (0.25, 100, [50, 0], 200, [0.25, 0]),
        (0.5, 1000, [0, 0], 0, [0, 0]),
    ],
)
def test_the_length_of_the_match_can_count_too(
    weight: float, scale: int, matched: list[float], tokens: int, scores: list[float]
) -> None:
    """(1 - w) * matched / total + w * min(1, matched / scale)^2."""
    scorer = PrefixCacheScorer(match_length_weight=weight, match_length_scale_tokens=scale)
    assert scorer.score(REQUEST, facts_of(matched, tokens)).tolist() == pytest.approx(scores)


@pytest.mark.parametrize(
    ("producer", "scores"),
    [
        ("", [0.5, 0]),
        ("approx-prefix-cache-producer", [0.5, 0]),
        ("burst", [0, 0.25]),
        ("nobody", [0, 0]),
    ],
)
def test_another_producers_matches_can_be_asked_for(producer: str, scores: list[float]) -> None:
    """By name; one that is not there has matched nothing."""
    facts = msgspec.structs.replace(facts_of([128, 0], 256), prefixes={"burst": (np.array([0.0, 16.0]), 64)})
    scorer = PrefixCacheScorer(prefix_match_info_producer_name=producer)
    assert scorer.score(REQUEST, facts).tolist() == scores


@pytest.mark.parametrize(
    "parameters", [{"matchLengthWeight": 1.5}, {"matchLengthWeight": -1}, {"matchLengthScaleTokens": 0}]
)
def test_parameters_out_of_range_are_errors(parameters: dict[str, float]) -> None:
    """A weight is a share, a scale is above 0."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(parameters, PrefixCacheScorer)
