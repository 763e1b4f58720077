"""A decision as the wire wants it: the pick and its alternatives in one header."""

from __future__ import annotations

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.request import Head, Request


def test_the_destination_lists_the_pick_first_and_the_retries_after_it() -> None:
    """Protocol 004: comma-separated, in the order to try."""
    endpoints = (Endpoint.at("10.0.0.2", 8000), Endpoint.at("::1", 8000))
    decision = Decision(1, Request(Head("/", "GET", {})), endpoints)
    assert decision.endpoint is endpoints[0]
    assert decision.destination == "10.0.0.2:8000,[::1]:8000"
