"""`inflight-load-producer`: estimated outputs are held from the pick to the end."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import ADDED, LOAD, Facts
from igw.request import Head, Request
from igw.scheduling.producers.inflight_load import InflightLoadProducer

A, B = (Endpoint.at(f"10.0.0.{n}", 8000) for n in (1, 2))


def request(tokens: int) -> Request:
    """Return a request with a prompt of so many tokens."""
    return Request(Head("/v1/completions", "POST", {}), prompt_bytes=4 * tokens)


def facts(matched: tuple[float, float] = (0.0, 0.0)) -> Facts:
    """Return facts of two endpoints: 100 and 200 uncached prompt tokens in flight."""
    zero = np.zeros(2)
    return Facts(
        zero, zero, zero, zero, np.array(matched), inflight_tokens=np.array([100.0, 200.0]), endpoints=(A, B)
    )


def made(**parameters: Any) -> InflightLoadProducer:
    """Return a producer from parameters as a file has them."""
    return msgspec.convert(parameters, InflightLoadProducer)


def test_without_estimates_it_adds_nothing() -> None:
    """The reservations count already."""
    producer = made()
    assert producer.idle
    producer.decided(Decision(1, request(10), (A,)))
    assert producer.produce(request(10), facts()) == {}


@pytest.mark.parametrize(
    ("parameters", "output"),
    [
        ({}, 150), ({"outputRatio": 0.5}, 50), ({"outputRatio": 0}, 0),
        ({"maxEstimatedOutputTokens": 20}, 20), ({"maxEstimatedOutputTokens": 0}, 0),
    ],
)  # fmt: skip
def test_outputs_are_estimated_from_the_prompt(parameters: dict[str, Any], output: int) -> None:
    """Prompt x ratio, at most the limit; on top of what of the prompt is not cached."""
    producer = made(addEstimatedOutputTokens=True, **parameters)
    found = producer.produce(request(100), facts(matched=(64.0, 0.0)))
    assert found[ADDED].tolist() == [36 + output, 100 + output]
    producer.decided(Decision(1, request(100), (A,)))
    assert producer.produce(request(1), facts())[LOAD].tolist() == [100 + output, 200]


def test_matches_are_those_of_the_producer_that_is_named() -> None:
    """Another one may believe in more."""
    producer = made(addEstimatedOutputTokens=True, outputRatio=0, prefixMatchInfoProducerName="other")
    known = facts().knowing("other", {"PrefixCacheMatchInfo": (np.array([10.0, 20.0]), 64)})
    assert producer.produce(request(100), known)[ADDED].tolist() == [90, 80]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), max_size=20))
def test_what_was_held_is_given_back(requests: list[tuple[bool, int]]) -> None:
    """When all have ended nothing is left, whichever way they ended."""
    producer = made(addEstimatedOutputTokens=True)
    decisions = [
        Decision(n, request(tokens), (A if first else B,)) for n, (first, tokens) in enumerate(requests)
    ]
    for decision in decisions:
        producer.decided(decision)
    for decision in reversed(decisions):
        producer.ended(decision, None)
    assert producer.produce(request(0), facts())[LOAD].tolist() == [100, 200]
    assert not vars(producer)["_outputs"]
