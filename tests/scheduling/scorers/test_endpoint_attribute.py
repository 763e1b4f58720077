"""`endpoint-attribute-scorer` by table."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.endpoint_attribute import EndpointAttributeScorer

NAN = float("nan")
LOWER, HIGHER = "linear_lower_is_better", "linear_higher_is_better"


def scorer(kind: str, key: str = "depth", **normalization: Any) -> EndpointAttributeScorer:
    """Return a scorer as a file describes it."""
    algorithm: dict[str, Any] = {"type": kind}
    if normalization:
        algorithm["normalization"] = normalization
    return msgspec.convert({"attributeKey": key, "algorithm": algorithm}, EndpointAttributeScorer)


def scored(of: EndpointAttributeScorer, values: list[float]) -> list[float]:
    """Return the scores of endpoints with these depths."""
    none = np.zeros(len(values))
    facts = Facts(none, none, none, none, none, scalars={"depth": np.array(values, dtype=float)})
    return of.score(Request(Head("/", "GET", {})), facts).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "normalization", "values", "scores"),
    [
        (LOWER, {}, [2, 4, 10], [1, 0.75, 0]),
        (HIGHER, {}, [2, 4, 10], [0, 0.25, 1]),
        (LOWER, {"adaptiveRange": {}}, [-1, 1], [1, 0]),
        (LOWER, {}, [3, 3], [1, 1]),
        (HIGHER, {}, [3, NAN, 3], [1, 0, 1]),
        (LOWER, {}, [NAN, 2, 4], [0, 1, 0]),
        (HIGHER, {}, [NAN, NAN], [0, 0]),
        (LOWER, {"fixedRange": {"min": 0, "max": 10}}, [-5, 0, 2.5, 10, 11], [1, 1, 0.75, 0, 0]),
        (HIGHER, {"fixedRange": {"min": 0, "max": 10}}, [-5, 0, 2.5, 10, 11], [0, 0, 0.25, 1, 1]),
        (LOWER, {"fixedRange": {"min": 0, "max": 1}}, [0.5, NAN], [0.5, 0]),
        (HIGHER, {"fixedRange": {"min": 0, "max": 1}}, [0.5, 0.5], [0.5, 0.5]),
    ],
)
def test_a_scalar_becomes_a_score(
    kind: str, normalization: dict[str, Any], values: list[float], scores: list[float]
) -> None:
    """(v - min) / (max - min) or 1 minus that; missing is 0; all equal is 1 where the range adapts."""
    assert scored(scorer(kind, **normalization), values) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("key", "scores"),
    [
        ("WaitingQueueSize", [1, 0]),
        ("RunningRequestsSize", [0, 1]),
        ("KVCacheUsagePercent", [1, 0]),
        ("depht", [0, 0]),
    ],
)
def test_core_metrics_are_scalars_too(key: str, scores: list[float]) -> None:
    """By upstream's names; a key that nobody writes is missing everywhere."""
    none = np.zeros(2)
    facts = Facts(np.array([0.0, 3.0]), np.array([9.0, 1.0]), np.array([0.1, 0.2]), none, none)
    assert scorer(LOWER, key).score(Request(Head("/", "GET", {})), facts).tolist() == scores


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "attributeKey"),
        ({"attributeKey": "", "algorithm": {"type": LOWER}}, "attributeKey"),
        ({"attributeKey": "a"}, "algorithm"),
        ({"attributeKey": "a", "algorithm": {"type": "linear"}}, "linear"),
        (
            {
                "attributeKey": "a",
                "algorithm": {"type": LOWER, "normalization": {"fixedRange": {"min": 1, "max": 1}}},
            },
            "min must be below max",
        ),
        (
            {
                "attributeKey": "a",
                "algorithm": {
                    "type": LOWER,
                    "normalization": {"fixedRange": {"min": 0, "max": 1}, "adaptiveRange": {}},
                },
            },
            "exclude each other",
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error(parameters: dict[str, Any], said: str) -> None:
    """And says what."""
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(parameters, EndpointAttributeScorer)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12))
def test_lower_and_higher_are_each_others_mirror(values: list[float]) -> None:
    """Law: where values differ the two scores add up to 1."""
    low, high = scored(scorer(LOWER), values), scored(scorer(HIGHER), values)
    total = 1.0 if min(values) != max(values) else 2.0
    assert [one + other for one, other in zip(low, high, strict=True)] == pytest.approx([total] * len(values))
