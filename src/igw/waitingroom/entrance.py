"""The way in: a queue in front of a queue, which sends those who ask for it to the waiting room instead of letting their gateway wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from igw.decision import NO_RESERVATION, Decision, Delivery
from igw.endpoint import Endpoint
from igw.flow.api import Dispatched, Item
from igw.flow.statistics import Standing
from igw.outcomes.ledger import Ledger
from igw.request import WITHOUT_BODY, Request
from igw.routing.claims import Claim
from igw.routing.router import Queue
from igw.waitingroom.tickets import TOKEN, Guest, Tickets, give_up

UPDATES = "x-igw-queue-updates"
"""By which a client asks to be told: `true`."""


class Told(Protocol):
    """A queue that knows where its requests stand (`igw.flow.waiting.Waiting`)."""

    def standing(self, request: int, /) -> Standing | None:
        """Return where a request stands; None if it does not wait."""
        ...


class Entrance:
    """Stands before the queue of one pool (`igw.routing.router.Queue`)."""

    def __init__(
        self, queue: Queue, told: Told, tickets: Tickets, ledger: Ledger, where: Callable[[], Endpoint | None]
    ) -> None:
        """Take the queue, who knows where its requests stand, and where the waiting room is; None: it is closed."""
        self._queue = queue
        self._told = told
        self._tickets = tickets
        self._ledger = ledger
        self._where = where

    async def place(self, item: Item, claim: Claim, /) -> Dispatched:
        """Return once *item* has its place; for one that has to wait and whose client asks, at once: it waits in the waiting room.

        Raises:
            Rejected: it gets none.
        """
        if UPDATES not in claim.request.head.headers:
            return await self._queue.place(item, claim)
        where = self._where()
        if where is None or not _wants(claim.request) or not self._tickets.has_room(item.size_bytes):
            return await self._queue.place(item, claim)
        place = asyncio.get_running_loop().create_task(self._queue.place(item, claim))
        try:
            await asyncio.sleep(
                0
            )  # one turn of the loop: who does not have to wait has its place, or its refusal, by then
        except asyncio.CancelledError:
            give_up(place, self._ledger)
            raise
        if place.done():
            return place.result()
        guest = Guest(claim.request, place, lambda: self._told.standing(item.id), claim.received_at)
        return Dispatched(item.id, _sent(where, guest, self._tickets.issue(guest)))


def _wants(request: Request) -> bool:
    """Return whether the client wants to be told, and can be: its answer is a stream of events."""
    headers = request.head.headers
    return (
        headers[UPDATES].strip().lower() == "true"
        and request.stream
        and not headers.get("content-type", "").startswith("application/grpc")
    )


def _sent(where: Endpoint, guest: Guest, token: str) -> Decision:
    return Decision(
        id=NO_RESERVATION,
        request=msgspec.structs.replace(guest.request, **WITHOUT_BODY),
        endpoints=(where,),
        delivery=Delivery(headers={TOKEN: token}),
    )
