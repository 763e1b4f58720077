"""The product's picker without its wire."""

from __future__ import annotations

from typing import Any

import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.lab.asked import Asked
from igw.lab.clock import VirtualClock
from igw.lab.picker import POOL, Picker
from igw.lab.workload import Session
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Request
from igw.scheduling import builtin
from igw.scheduling.scheduler import Choice
from tests.lab.small import BLOCK, turn

ENDPOINTS = tuple(Endpoint.at(f"10.0.0.{n}", 8000) for n in (1, 2))


def request(first: int = 0) -> Request:
    session = Session("s", (turn(1024, 1, first=first),))
    return Asked(session, session.turns[0], BLOCK, "0").request("m", POOL)


def asked(picker: Picker, number: int = 0) -> Decision:
    """Return where a request goes that does not wait."""
    told: list[Decision | None] = []
    picker.ask(request(number), told.append)
    (decision,) = told
    assert decision is not None
    return decision


def test_a_pick_is_reserved_and_its_prefix_remembered() -> None:
    """The next one with the same prompt goes the same way, and the reservation ends with the outcome."""
    picker = Picker(builtin.default(), ENDPOINTS, VirtualClock())
    decision = asked(picker)
    row = picker.columns.row[decision.endpoint.hostport]
    assert picker.columns.inflight[row] == 1
    assert picker.columns.inflight_tokens[row] == 1024
    picker.close(decision, Outcome(End.COMPLETE, status=200))
    assert not picker.columns.inflight.any()
    again = asked(picker)
    assert again.endpoint == decision.endpoint
    assert again.matched_tokens == 1024


def test_endpoints_come_and_go() -> None:
    """What is known of those that stay is kept."""
    picker = Picker(builtin.default(), ENDPOINTS[:1], VirtualClock())
    asked(picker)
    picker.follow(ENDPOINTS)
    assert picker.columns.inflight.tolist() == [1, 0]
    picker.follow(())
    told: list[Decision | None] = []
    picker.ask(request(), told.append)
    assert told == [None]


def test_a_route_that_waits_is_an_error() -> None:
    """Virtual time has no event loop that could wait for it."""

    class Waits:
        def __await__(self) -> Any:
            yield

    picker = Picker(builtin.default(), ENDPOINTS, VirtualClock())

    async def route(_request: Request) -> None:
        await Waits()

    picker._router.route = route  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="waited"):
        asked(picker)


def test_a_policy_without_hooks_is_told_nothing() -> None:
    """The protocol asks for `pick` only."""

    class Last:
        def pick(self, _request: Request, facts: Facts, /) -> Choice:
            return Choice([len(facts.inflight) - 1], {})

    picker = Picker(Last(), ENDPOINTS, VirtualClock())
    decision = asked(picker)
    picker.first_token(decision)
    picker.close(decision, Outcome(End.COMPLETE, status=200))
    assert decision.endpoint == ENDPOINTS[1]


def test_the_product_learns_from_answers_and_hears_of_first_tokens() -> None:
    """What was promised is running after the first token and gone after the last."""
    picker = Picker(builtin.default(), ENDPOINTS[:1], VirtualClock())
    decision = asked(picker)
    slots = picker.columns.slots
    assert picker.promises.promised(slots, 0.0).column("queued").tolist() == [1]
    picker.first_token(decision)
    assert picker.promises.promised(slots, 0.0).column("running").tolist() == [1]
    usage = Usage(prompt_tokens=1024, completion_tokens=10, cached_tokens=0)
    picker.close(
        decision, Outcome(End.COMPLETE, status=200, ttft_seconds=0.2, duration_seconds=1.0, usage=usage)
    )
    assert picker.promises.promised(slots, 0.0).column("running").tolist() == [0]
    assert picker.promises.model.observations == 1
