"""Who is sent to the waiting room, and who waits as before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from igw.decision import NO_RESERVATION, Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints
from igw.flow.settings import Settings
from igw.parsing.reading import read
from igw.request import Head
from igw.routing.holding import Around, Bare
from igw.routing.router import Queue
from igw.waitingroom import tickets
from igw.waitingroom.entrance import UPDATES, Entrance
from igw.waitingroom.tickets import TOKEN, Tickets
from tests.routing.test_holding import Desk

WHERE = Endpoint.at("127.0.0.1", 9005, "waiting-room")
ASKS = {UPDATES: "true"}


class Front(Bare):
    """Stands before the queues of a desk."""

    def __init__(self, desk: Desk) -> None:
        self.tickets = Tickets(desk.ledger)
        self.where: Endpoint | None = WHERE
        self._ledger = desk.ledger

    def queue(self, _pool: str, queue: Any, /) -> Queue:
        """Return the queue behind an entrance."""
        return Entrance(queue, queue, self.tickets, self._ledger, lambda: self.where)


class FrontDesk(Desk):
    """A desk with an entrance."""

    def __init__(self) -> None:
        super().__init__()
        self.front = Front(self)
        around: Around = self.front
        self.holding._around = around
        self.holding.use(Settings())

    def ask(
        self, headers: Mapping[str, str] = ASKS, *, stream: bool = True, path: str = "/v1/chat/completions"
    ) -> asyncio.Task[Decision]:
        """Let a request come whose client wants to be told."""
        fields = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        body = msgspec.json.encode(fields)
        return asyncio.create_task(self.router.route(read(Head(path, "POST", headers), body)))


async def test_who_would_wait_is_sent_with_a_token_at_once() -> None:
    """It waits in the queue from its arrival, and reserves nothing before it has its place."""
    desk = FrontDesk()
    first = await desk.ask()
    assert first.id != NO_RESERVATION  # there was room: it goes where all go
    before = desk.send()
    await desk.waits(1)
    sent = await desk.ask()
    assert (sent.id, sent.destination) == (NO_RESERVATION, WHERE.hostport)
    assert not sent.request.body
    guest = desk.front.tickets.redeem(sent.delivery.headers[TOKEN])
    assert guest is not None
    standing = guest.standing()
    assert standing is not None
    assert standing.position == 2
    assert desk.ledger.statistics().open == 1
    desk.end(first)
    desk.end(await before)
    decision = (await guest.place).decision
    assert decision.request.prompt_bytes > 0
    desk.front.tickets.left(guest)
    assert desk.ledger.statistics().open == 0


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, {}),
        ({UPDATES: "false"}, {}),
        (ASKS, {"stream": False}),
        (ASKS | {"content-type": "application/grpc"}, {}),
        (ASKS, {"path": "/unheard/of"}),
    ],
)
async def test_others_wait_as_before(headers: dict[str, str], fields: dict[str, Any]) -> None:
    """Those who do not ask, or could not be told."""
    desk = FrontDesk()
    first = await desk.send()
    waiting = desk.ask(headers, **fields)
    await desk.waits(1)
    desk.end(first)
    assert (await waiting).id != NO_RESERVATION


@pytest.mark.parametrize("full", [False, True])
async def test_nobody_is_sent_to_a_room_that_is_full_or_closed(
    monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """They wait without being told."""
    desk = FrontDesk()
    if full:
        monkeypatch.setattr(tickets, "_MOST", 0)
    else:
        desk.front.where = None
    first = await desk.send()
    waiting = desk.ask()
    await desk.waits(1)
    desk.end(first)
    assert (await waiting).id != NO_RESERVATION


async def test_who_is_turned_away_at_once_is_told_by_status() -> None:
    """Not by a stream."""
    desk = FrontDesk()
    desk.pools.adopt({"default/p": Pool("p", "default", ())})
    desk.holding.use(Settings())
    with pytest.raises(NoEndpoints):
        await desk.ask()


async def test_a_client_that_leaves_on_the_threshold_leaves_nothing_behind() -> None:
    """Whether it has found a place in that moment or not."""
    desk = FrontDesk()
    for taken in (False, True):
        first = await desk.send() if taken else None
        leaving = desk.ask()
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (desk.ledger.statistics().open, len(desk.holding)) == (int(taken), 0)
    assert first is not None
