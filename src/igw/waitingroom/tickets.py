"""Who has been sent to the waiting room: tokens that are good once and for a short time, and what they stand for. HTTP is `server`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from igw.decision import Decision
from igw.flow.api import Dispatched
from igw.flow.statistics import Standing
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.request import Request

TOKEN = "x-igw-waiting-room"  # noqa: S105 (the header's name)
"""The header that says which request has come. Only the picker sets it, and no model server sees it."""

_GOOD_SECONDS = 5.0
"""How long the way from the pick to the waiting room may take: connecting takes a gateway a second at most."""
_MOST = 1000
"""Requests in the waiting room and on their way there,"""
_MOST_BYTES = 256 << 20
"""and the size of their bodies. Who comes beyond that waits as others do."""


class Guest:
    """One request that waits in a queue like all others, while somebody tells its client so."""

    def __init__(
        self,
        request: Request,
        place: asyncio.Task[Dispatched],
        standing: Callable[[], Standing | None],
        received_at: float,
    ) -> None:
        """Take what will say where it goes, and how to learn where it stands; *received_at* in seconds on the picker's monotonic clock."""
        self.request = request
        self.place = place
        self.standing = standing
        self.received_at = received_at


class Tickets:
    """Owner of the guests, from when they are sent until they have left."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._coming: dict[str, tuple[Guest, asyncio.TimerHandle]] = {}
        self._guests: set[Guest] = set()
        self._bytes = 0
        self._left = asyncio.Event()

    def has_room(self, size_bytes: int) -> bool:
        """Return whether one more may come, with a body of this size."""
        return len(self._guests) < _MOST and self._bytes + size_bytes <= _MOST_BYTES

    def issue(self, guest: Guest) -> str:
        """Return the token by which *guest* will be known; it leaves if it is not there in time."""
        token = secrets.token_urlsafe(32)
        late = asyncio.get_running_loop().call_later(_GOOD_SECONDS, self._expire, token)
        self._coming[token] = guest, late
        self._guests.add(guest)
        self._bytes += guest.request.body_bytes
        return token

    def redeem(self, token: str) -> Guest | None:
        """Return whose *token* this is, once; it stays until it has `left`."""
        found = self._coming.pop(token, None)
        if found is None:
            return None
        guest, late = found
        late.cancel()
        return guest

    def _expire(self, token: str) -> None:
        guest, _ = self._coming.pop(token)
        self.left(guest)

    def left(self, guest: Guest) -> None:
        """Forget a guest. What it still has of the pool, a place in the queue or a reservation, is free from now on."""
        self._guests.discard(guest)
        self._bytes -= guest.request.body_bytes
        give_up(guest.place, self._ledger)
        self._left.set()

    async def empty(self) -> None:
        """Return once nobody is there."""
        while self._guests:
            self._left.clear()
            await self._left.wait()


def give_up(place: asyncio.Task[Dispatched], ledger: Ledger) -> None:
    """Take a request out of its queue, or give back the reservation that it got and that nobody has settled."""
    if not place.done():
        place.cancel()
        place.add_done_callback(lambda done: give_up(done, ledger))
    elif not place.cancelled() and place.exception() is None:
        decision: Decision = place.result().decision
        ledger.close(decision.id, Outcome(End.ABORTED))
