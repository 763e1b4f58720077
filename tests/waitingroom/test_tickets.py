"""Tokens: good once, for a short time, for so many; whoever leaves leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.flow.api import Dispatched
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.request import Head, Request
from igw.waitingroom import tickets
from igw.waitingroom.tickets import Guest, Tickets

ENDPOINT = Endpoint.at("10.0.0.1", 8000)
REQUEST = Request(Head("/v1/chat/completions", "POST", {}), body_bytes=100)


class Room:
    """Tickets, and a ledger that tells how requests ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, End]] = []
        self.ledger = Ledger(60.0, [lambda decision, outcome: self.ends.append((decision.id, outcome.end))])
        self.tickets = Tickets(self.ledger)

    def guest(self) -> tuple[Guest, asyncio.Future[Dispatched]]:
        """Return a guest, and what gives it a place."""
        place: asyncio.Future[Dispatched] = asyncio.get_running_loop().create_future()

        async def wait() -> Dispatched:
            return await place

        return Guest(REQUEST, asyncio.create_task(wait()), lambda: None, 0.0), place

    def reserved(self) -> Dispatched:
        """Return a place that is reserved."""
        decision = Decision(7, REQUEST, (ENDPOINT,))
        self.ledger.open(decision, Columns(Pool("p", "default", (ENDPOINT,)), lambda _: 0))
        return Dispatched(7, decision)


async def test_a_token_is_good_once() -> None:
    """And cannot be guessed."""
    room = Room()
    (one, _), (two, _) = room.guest(), room.guest()
    first, second = room.tickets.issue(one), room.tickets.issue(two)
    assert first != second
    assert len(first) >= 43
    assert room.tickets.redeem("") is None
    assert room.tickets.redeem(first) is one
    assert room.tickets.redeem(first) is None
    assert room.tickets.redeem(second) is two
    for guest in (one, two):
        room.tickets.left(guest)
    await asyncio.gather(one.place, two.place, return_exceptions=True)
    assert one.place.cancelled()


@pytest.mark.parametrize("decided", [False, True])
async def test_whoever_does_not_come_in_time_gives_up_its_place(
    monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    """In the queue, or its reservation if it has one by then."""
    monkeypatch.setattr(tickets, "_GOOD_SECONDS", 0.01)
    room = Room()
    guest, place = room.guest()
    token = room.tickets.issue(guest)
    if decided:
        place.set_result(room.reserved())
    async with asyncio.timeout(2):
        await room.tickets.empty()
    assert room.tickets.redeem(token) is None
    await asyncio.wait({guest.place})
    assert guest.place.cancelled() is not decided
    assert room.ends == ([(7, End.ABORTED)] if decided else [])


async def test_a_place_that_comes_while_it_is_given_up_is_given_back() -> None:
    """Cancelling takes a turn of the loop, in which it may be reserved."""
    room = Room()
    reserved = room.reserved()

    async def stubborn() -> Dispatched:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return reserved

    guest = Guest(REQUEST, asyncio.create_task(stubborn()), lambda: None, 0.0)
    room.tickets.issue(guest)
    await asyncio.sleep(0)
    room.tickets.left(guest)
    await guest.place
    await asyncio.sleep(0)
    assert room.ends == [(7, End.ABORTED)]


async def test_what_is_settled_stays_so() -> None:
    """Leaving after the answer closes nothing twice."""
    room = Room()
    guest, place = room.guest()
    room.tickets.redeem(room.tickets.issue(guest))
    place.set_result(room.reserved())
    decision = (await guest.place).decision
    room.ledger.close(decision.id, Outcome(End.COMPLETE, 200))
    room.tickets.left(guest)
    assert room.ends == [(7, End.COMPLETE)]


@pytest.mark.parametrize(
    ("name", "value", "room_for"), [("_MOST", 2, 2), ("_MOST_BYTES", 350, 3)], ids=["requests", "bytes"]
)
async def test_there_is_room_for_so_many(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int, room_for: int
) -> None:
    """By number and by what their bodies take; who leaves makes room."""
    monkeypatch.setattr(tickets, name, value)
    room = Room()
    guests = [room.guest()[0] for _ in range(room_for)]
    for guest in guests:
        assert room.tickets.has_room(100)
        room.tickets.issue(guest)
    assert not room.tickets.has_room(100)
    room.tickets.left(guests[0])
    assert room.tickets.has_room(100)
    for guest in guests[1:]:
        room.tickets.left(guest)
    await asyncio.gather(*(guest.place for guest in guests), return_exceptions=True)
