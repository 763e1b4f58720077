"""A decision as the wire wants it: the pick and its alternatives in one header."""

from __future__ import annotations

import math

import numpy as np

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.request import Head, Request


def test_the_destination_lists_the_pick_first_and_the_retries_after_it() -> None:
    """Protocol 004: comma-separated, in the order to try."""
    endpoints = (Endpoint.at("10.0.0.2", 8000), Endpoint.at("::1", 8000))
    decision = Decision(1, Request(Head("/", "GET", {})), endpoints)
    assert decision.endpoint is endpoints[0]
    assert decision.destination == "10.0.0.2:8000,[::1]:8000"


def test_totals_are_those_of_the_candidates_that_were_scored() -> None:
    """A candidate that a filter left out has none, and without scorers nobody has."""
    candidates = tuple(Endpoint.at(f"10.0.0.{number}", 8000) for number in range(3))
    scores = {"a": np.array([1.0, math.nan, 0.25]), "b": np.array([0.5, math.nan, 0.0])}
    decision = Decision(
        1, Request(Head("/", "GET", {})), candidates[:1], candidates=candidates, scores=scores
    )
    assert decision.totals() == {"10.0.0.0:8000": 1.5, "10.0.0.2:8000": 0.25}
    assert not Decision(1, Request(Head("/", "GET", {})), candidates).totals()
