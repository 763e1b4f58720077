"""The waiting room as an HTTP server of the picker: lets in who has a token, tells where it stands, passes it on when it has its place."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable

import structlog
from aiohttp import web

from igw.decision import Decision
from igw.endpoint import Endpoint, hostport
from igw.errors import ConfigError, Rejected
from igw.flow.api import Dispatched
from igw.flow.waiting import Waiting
from igw.outcomes.ledger import Ledger
from igw.parsing.registry import error_shape
from igw.request import Request
from igw.routing.holding import Around
from igw.routing.router import Queue
from igw.waitingroom import events
from igw.waitingroom.entrance import Entrance, Told
from igw.waitingroom.relay import Passed, Relay, session
from igw.waitingroom.tickets import TOKEN, Guest, Tickets

log = structlog.get_logger("waitingroom")

_EVERY_SECONDS = 1.0
"""How often a client is told at most: nothing says when a position changes."""
_SILENT_SECONDS = 15.0
"""How long it is told nothing at most, changed or not: what stands between us may end what seems dead."""


class WaitingRoom:
    """Tells clients how long they wait. `before` puts it in front of a queue, `serving` opens it."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Callable[[], float],
        decided: Callable[[Decision], None],
        refused: Callable[[Request, Rejected], None],
        started: Callable[[Decision], None],
    ) -> None:
        """Take who is told of those that got their place, that got none, and of an answer's first byte."""
        self._ledger = ledger
        self._clock = clock
        self._decided = decided
        self._refused = refused
        self._started = started
        self._tickets = Tickets(ledger)
        self._endpoint: Endpoint | None = None

    def around(self, inner: Around) -> Around:
        """Return what stands around queues with the way to the waiting room before it."""
        return _WithEntrance(inner, self._entrance)

    def _entrance(self, queue: Queue, told: Told) -> Queue:
        return Entrance(queue, told, self._tickets, self._ledger, lambda: self._endpoint)

    async def open(
        self,
        stack: contextlib.AsyncExitStack,
        address: str,
        max_body_bytes: int,
        may_take: Callable[[], float],
    ) -> str:
        """Listen at *address* until *stack* is left and return `ip:port`; who is there then may take so long, in seconds.

        An empty address is none: nothing is opened.

        Raises:
            ConfigError: the address cannot be read, or is taken.
        """
        if not address:
            return ""
        ip, port = _parsed(address)
        self._relay = Relay(await stack.enter_async_context(session()), self._clock, self._started)
        app = web.Application(client_max_size=max_body_bytes)
        app.router.add_route("*", "/{path:.*}", self._serve)
        # Without it a client that leaves would be noticed when the next thing is written to it.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, ip, port, reuse_port=False).start()
        except OSError as error:
            raise ConfigError(
                "--waiting-room", f"cannot listen on {address}; choose another port, or 0 for a free one"
            ) from error
        bound = int(runner.addresses[0][1])
        self._endpoint = Endpoint.at(ip, bound, name="waiting-room")
        stack.push_async_callback(self._close, may_take)
        return hostport(ip, bound)

    async def _close(self, may_take: Callable[[], float]) -> None:
        self._endpoint = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, may_take())):
                await self._tickets.empty()

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        guest = self._tickets.redeem(http.headers.get(TOKEN, ""))
        if guest is None:
            return web.Response(status=404, text="nobody is expected here by this token\n")
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "cache-control": "no-cache"}
        )
        try:
            # All of it before anything else: an unread body would hide that the client has left.
            body = await http.read()
            await response.prepare(http)
            with contextlib.suppress(ConnectionResetError):
                await self._attend(guest, http, body, response)
        finally:
            self._tickets.left(guest)
        return response

    async def _attend(
        self, guest: Guest, http: web.Request, body: bytes, response: web.StreamResponse
    ) -> None:
        shape = error_shape(guest.request.api)
        try:
            decision: Decision = (await self._wait(guest, response)).decision
        except Rejected as rejected:
            self._refused(guest.request, rejected)
            await response.write(events.refusal(rejected, shape))
            return
        except Exception as error:
            if isinstance(error, ConnectionResetError):
                raise
            log.exception("exchange_failed")
            failed = Rejected("the endpoint picker failed; its log says why")
            self._refused(guest.request, failed)
            await response.write(events.refusal(failed, shape))
            return
        self._decided(decision)
        passed = Passed(http.method, http.raw_path, http.headers, body, response.write, guest.received_at)
        self._ledger.close(decision.id, await self._relay.run(decision, passed))

    async def _wait(self, guest: Guest, response: web.StreamResponse) -> Dispatched:
        """Return its place once it has one; until then its client is told where it stands."""
        said, said_at = b"", self._clock()
        while not guest.place.done():
            where = guest.standing()
            comment = said if where is None else events.standing(where)
            if comment != said or (comment and self._clock() - said_at >= _SILENT_SECONDS):
                said, said_at = comment, self._clock()
                await response.write(comment)
            await asyncio.wait({guest.place}, timeout=_EVERY_SECONDS)
        return guest.place.result()


class _WithEntrance:
    def __init__(self, inner: Around, entrance: Callable[[Queue, Told], Queue]) -> None:
        self.engine = inner.engine
        self._queue = inner.queue
        self._entrance = entrance

    def queue(self, pool: str, queue: Waiting, /) -> Queue:
        """Return the queue of *pool* with the way to the waiting room before it."""
        return self._entrance(self._queue(pool, queue), queue)


def _parsed(address: str) -> tuple[str, int]:
    ip, _, port = address.rpartition(":")
    ip = ip.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(ip)
        number = int(port)
    except ValueError:
        raise ConfigError(
            "--waiting-room", f"{address!r} is not ip:port", "such as 127.0.0.1:9005; port 0 is any free one"
        ) from None
    return ip, number
