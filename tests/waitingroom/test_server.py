"""The waiting room over HTTP: comments, the way to a model server and back, and how it is accounted. A desk stands for the picker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from igw.decision import NO_RESERVATION, Decision, Delivery
from igw.endpoint import Endpoint, Pool
from igw.errors import ConfigError
from igw.flow.settings import Settings
from igw.outcomes.outcome import End, Outcome
from igw.parsing.reading import read
from igw.request import Head
from igw.routing.holding import Bare
from igw.waitingroom import server
from igw.waitingroom.entrance import UPDATES
from igw.waitingroom.server import WaitingRoom
from igw.waitingroom.tickets import TOKEN
from tests.routing.test_holding import Desk

BODY = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True})
EVENTS = b'data: {"usage": {"prompt_tokens": 5, "completion_tokens": 3}}\n\ndata: [DONE]\n\n'
NOWHERE = Endpoint.at("127.0.0.1", 1)
"""Nothing listens there."""


class House(Desk):
    """A desk with a waiting room and one model server, which does what `answer` does."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Any]] = []
        self.outcomes: list[Outcome] = []
        self.ledger.listen(lambda _decision, outcome: self.outcomes.append(outcome))
        self.seen: list[tuple[web.Request, bytes]] = []
        self.answer: Any = self.stream
        self.room = WaitingRoom(
            self.ledger,
            lambda: self.now,
            lambda decision: self.told.append(("decided", decision)),
            lambda _request, rejected: self.told.append(("refused", rejected)),
            lambda decision: self.told.append(("started", decision)),
        )
        self.holding._around = self.room.around(Bare())
        self.may_take = 0.0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen, both of them."""
        async with contextlib.AsyncExitStack() as stack:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._model_server)
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.endpoint = Endpoint.at("127.0.0.1", int(runner.addresses[0][1]))
            self.serve(self.endpoint)
            self.http = await stack.enter_async_context(aiohttp.ClientSession())
            self.url = "http://" + await self.room.open(stack, "127.0.0.1:0", 1 << 20, lambda: self.may_take)
            yield

    def serve(self, *endpoints: Endpoint) -> None:
        """Make these the pool: one request each."""
        self.pools.adopt({"default/p": Pool("p", "default", endpoints)})
        for columns in self.pools.all():
            for endpoint in endpoints:
                columns.report(endpoint.hostport, 0.0, 0.0, 0.0)
        self.holding.use(Settings())

    async def full(self) -> Decision:
        """Take the place there is."""
        return await self.send()

    async def sent(self, **headers: str) -> dict[str, str]:
        """Let a request come that has to wait, and return what it is sent on with."""
        head = Head("/v1/chat/completions", "POST", {UPDATES: "true", **headers})
        decision = await self.router.route(read(head, BODY))
        assert decision.id == NO_RESERVATION
        return dict(decision.delivery.headers)

    def come(self, headers: dict[str, str]) -> Any:
        """Come to the waiting room, as the gateway does with the request."""
        return self.http.post(f"{self.url}/v1/chat/completions?a=%20b", data=BODY, headers=headers)

    async def _model_server(self, http: web.Request) -> web.StreamResponse:
        self.seen.append((http, await http.read()))
        response: web.StreamResponse = await self.answer(http)
        return response

    async def stream(self, http: web.Request) -> web.StreamResponse:
        """Answer as a model server does."""
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(http)
        self.now += 2.0
        await response.write(EVENTS)
        return response


async def test_a_request_is_passed_on_as_it_came_and_its_end_is_known() -> None:
    """With the headers of the pick and without ours; times count from the first byte of the request, waiting included."""
    house = House()
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent() | {"x-more": "1", "accept-encoding": "gzip"}) as response:
            assert response.headers["cache-control"] == "no-cache"
            assert await response.content.readline() == b": queue position 1, expected wait 10.0 s\n"
            house.now += 3.0
            house.end(first)
            assert (await response.read()).lstrip() == EVENTS
        http, body = house.seen[0]
        assert (http.method, http.raw_path, body) == ("POST", "/v1/chat/completions?a=%20b", BODY)
        assert (http.headers["x-more"], http.headers["accept-encoding"]) == ("1", "identity")
        assert TOKEN not in http.headers
        assert ["decided", "started"] == [what for what, _ in house.told]
        outcome = house.outcomes[-1]
        assert (outcome.end, outcome.status, outcome.served_by) == (
            End.COMPLETE,
            200,
            house.endpoint.hostport,
        )
        assert (outcome.ttft_seconds, outcome.duration_seconds) == (5.0, 5.0)
        assert (outcome.usage.completion_tokens, outcome.response_bytes) == (3, len(EVENTS))
        assert house.ledger.statistics().open == 0


async def test_who_cannot_be_reached_is_passed_over() -> None:
    """The next one of the pick serves, and health hears of the first."""
    house = House()
    async with house.open():
        first = await house.full()
        coming = await house.sent()
        async with house.come(coming) as response:
            house.router.reserve = _to(house.router.reserve, NOWHERE, house.endpoint)  # type: ignore[method-assign]
            house.end(first)
            assert EVENTS in await response.read()
        outcome = house.outcomes[-1]
        assert (outcome.served_by, outcome.unreachable) == (house.endpoint.hostport, True)


def _to(reserve: Any, *endpoints: Endpoint, **delivery: Any) -> Any:
    """Return *reserve* with these endpoints in the place of the picked ones."""

    def other(*args: Any) -> Decision:
        return msgspec.structs.replace(reserve(*args), endpoints=endpoints, delivery=Delivery(**delivery))

    return other


async def test_nobody_to_be_reached_is_an_error_event() -> None:
    """And a failure of the endpoint."""
    house = House()
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent()) as response:
            house.router.reserve = _to(house.router.reserve, NOWHERE, headers={"x-a": "b"})  # type: ignore[method-assign]
            house.end(first)
            assert b"no endpoint could be reached" in await response.read()
        assert (house.outcomes[-1].end, house.outcomes[-1].unreachable) == (End.FAILED, True)


async def test_a_rank_behind_a_port_is_asked_at_its_address() -> None:
    """A pick may say another address than its endpoint's."""
    house = House()
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent()) as response:
            house.router.reserve = _to(  # type: ignore[method-assign]
                house.router.reserve, NOWHERE, address=house.endpoint.hostport, headers={"x-a": "b"}
            )
            house.end(first)
            assert EVENTS in await response.read()
        assert house.seen[0][0].headers["x-a"] == "b"


async def test_a_model_server_that_stops_in_the_middle_is_told() -> None:
    """After what it said so far."""
    house = House()

    async def broken(http: web.Request) -> web.StreamResponse:
        response = await house.stream(http)
        assert http.transport is not None
        http.transport.abort()
        return response

    house.answer = broken
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent()) as response:
            house.end(first)
            said = await response.read()
        assert EVENTS in said
        assert b"the model server stopped in the middle" in said
        assert house.outcomes[-1].end is End.FAILED


async def test_an_answer_that_is_no_stream_is_told_as_an_error() -> None:
    """Its status counts as it was."""
    house = House()

    async def whole(_http: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": []})

    house.answer = whole
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent()) as response:
            house.end(first)
            assert b"answered 200 and no stream of events" in await response.read()
        assert (house.outcomes[-1].end, house.outcomes[-1].status) == (End.COMPLETE, 200)


async def test_what_a_model_server_says_of_its_error_is_passed_on() -> None:
    """All of it, in however many pieces it comes."""
    house = House()

    async def refusing(http: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=400)
        await response.prepare(http)
        await response.write(b'{"error": {"message": "too')
        await asyncio.sleep(0.02)
        await response.write(b' long"}}')
        return response

    house.answer = refusing
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent()) as response:
            house.end(first)
            assert b'data: {"error":{"message":"too long"}}' in await response.read()
        assert house.outcomes[-1].status == 400


async def test_comments_come_when_something_changes_or_it_was_silent_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not more often than that."""
    monkeypatch.setattr(server, "_EVERY_SECONDS", 0.01)
    house = House()
    async with house.open():
        first = await house.full()
        before = house.send()
        await house.waits(1)
        async with house.come(await house.sent()) as response:
            comment = response.content.readuntil
            assert await comment(b"\n\n") == b": queue position 2, expected wait 20.0 s\n\n"
            before.cancel()
            assert await comment(b"\n\n") == b": queue position 1, expected wait 10.0 s\n\n"
            monkeypatch.setattr(server, "_SILENT_SECONDS", 0.0)
            assert await comment(b"\n\n") == b": queue position 1, expected wait 10.0 s\n\n"
            house.end(first)
            assert EVENTS in await response.read()


async def test_a_fault_of_ours_is_an_event_too() -> None:
    """The log says more."""
    house = House()
    async with house.open():
        first = await house.full()
        async with house.come(await house.sent()) as response:

            def fault(*_: Any) -> Any:
                raise LookupError("a plugin")

            house.router.choose = fault  # type: ignore[method-assign]
            house.end(first)
            assert b"the endpoint picker failed; its log says why" in await response.read()
        assert [("refused", "Internal")] == [(what, each.code) for what, each in house.told]


async def test_closing_waits_for_those_that_are_there() -> None:
    """As long as it may; nobody else is sent."""
    house = House()
    house.may_take = 5.0
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(house.open())
        first = await house.full()
        coming = await house.sent()
        answer = asyncio.create_task(house.come(coming).__aenter__())
        response = await answer
        closing = asyncio.create_task(stack.aclose())
        while house.room._endpoint is not None:
            await asyncio.sleep(0)
        house.end(first)
        assert EVENTS in await response.read()
        async with asyncio.timeout(2):
            await closing


@pytest.mark.parametrize(
    ("address", "why"),
    [("here", "is not ip:port"), ("localhost:1", "is not ip:port"), ("127.0.0.1:x", "is not ip:port")],
)
async def test_an_address_that_is_none_is_told(address: str, why: str) -> None:
    """By the flag that said it. Gateways need an IP address."""
    house = House()
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=why) as error:
            await house.room.open(stack, address, 1, lambda: 0.0)
    assert error.value.where == "--waiting-room"


async def test_a_port_that_is_taken_is_told() -> None:
    """With the cure."""
    house = House()
    async with house.open(), contextlib.AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match="choose another port"):
            await House().room.open(stack, house.url.removeprefix("http://"), 1, lambda: 0.0)


async def test_no_address_is_no_waiting_room() -> None:
    """And nothing listens."""
    async with contextlib.AsyncExitStack() as stack:
        assert not await House().room.open(stack, "", 1, lambda: 0.0)
