"""Lists of models put together, and asked of servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from igw.endpoint import Endpoint, Pool
from igw.payload.catalogue import Catalogue
from igw.payload.models import merged, models, unknown, written


def page(*names: str, **fields: Any) -> dict[str, Any]:
    """Return what a server with these models answers."""
    data = [{"id": name, "object": "model", "root": f"/{name}", "parent": None, **fields} for name in names]
    return {"object": "list", "data": data}


def test_entries_stay_as_their_server_wrote_them() -> None:
    """Fields that we do not know as well; the first server's entry of a model stays."""
    first = models(json.dumps(page("a", "b", max_model_len=12345678901234567890)).encode())
    second = models(json.dumps(page("b", "c", max_model_len=2)).encode())
    listed = json.loads(written(merged([first, second])))
    assert listed["object"] == "list"
    assert [each["id"] for each in listed["data"]] == ["a", "b", "c"]
    assert [each["max_model_len"] for each in listed["data"]] == [12345678901234567890] * 2 + [2]


def test_no_models_are_an_empty_list() -> None:
    """Not an error."""
    assert json.loads(written({})) == {"object": "list", "data": []}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"data": [{}]}', b'{"data": 1}', b"<html>"])
def test_what_is_no_list_of_models_is_told(body: bytes) -> None:
    """Its server is then left out."""
    with pytest.raises(msgspec.DecodeError):
        models(body)


def test_an_unknown_model_is_an_error_in_openais_shape() -> None:
    """Its name is escaped."""
    error = json.loads(unknown('a"b'))["error"]
    assert ('There is no model `a"b` here' in error["message"], error["code"]) == (True, "model_not_found")


class Servers:
    """Model servers that answer what they are told to, and a clock that stands."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.asked = 0
        self.now = 0.0

    async def start(self, answer: Callable[[], Any]) -> Endpoint:
        """Start one."""

        async def list_models(_request: web.Request) -> web.StreamResponse:
            self.asked += 1
            said = answer()
            if asyncio.iscoroutine(said):
                said = await said
            return said if isinstance(said, web.StreamResponse) else web.json_response(said)

        app = web.Application()
        app.router.add_get("/v1/models", list_models)
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return Endpoint.at("127.0.0.1", runner.addresses[0][1])

    async def catalogue(self) -> Catalogue:
        """Return a catalogue that asks them."""
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        return await self._stack.enter_async_context(Catalogue(session, lambda: self.now))


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """None yet."""
    async with AsyncExitStack() as stack:
        yield Servers(stack)


def pool(name: str, *endpoints: Endpoint) -> Pool:
    """Return a pool."""
    return Pool(name, "default", endpoints)


async def test_pools_are_listed_together_and_who_does_not_answer_is_left_out(servers: Servers) -> None:
    """Servers of a pool may have different adapters; errors, rubbish and closed ports are no reason to fail."""
    good, other = [await servers.start(lambda names=names: page(*names)) for names in ("ab", "bc")]
    bad = await servers.start(lambda: web.Response(status=500))
    odd = await servers.start(lambda: web.Response(text="?"))
    gone = Endpoint.at("127.0.0.1", 1)
    catalogue = await servers.catalogue()
    pools = [pool("one", good, bad, other), pool("two", gone, odd), pool("none")]
    assert list(await catalogue.listed(pools)) == ["a", "b", "c"]
    assert await catalogue.listed([]) == {}


async def test_servers_are_asked_once_for_all_who_ask_within_seconds(servers: Servers) -> None:
    """And again when the list is old or the pool is another one."""
    endpoint = await servers.start(lambda: page("a"))
    catalogue, one = await servers.catalogue(), pool("one", endpoint)
    await asyncio.gather(*(catalogue.listed([one]) for _ in range(20)))
    assert servers.asked == 1
    servers.now = 4.9
    await catalogue.listed([one])
    assert servers.asked == 1
    servers.now = 5.0
    await catalogue.listed([one])
    assert servers.asked == 2
    await catalogue.listed([pool("one", endpoint, endpoint)])
    assert servers.asked == 4


async def test_a_client_that_leaves_does_not_end_what_others_wait_for(servers: Servers) -> None:
    """The question goes on."""
    gate, reached = asyncio.Event(), asyncio.Event()

    async def late() -> Any:
        reached.set()
        await gate.wait()
        return page("a")

    catalogue, one = await servers.catalogue(), pool("one", await servers.start(late))
    leaves = asyncio.create_task(catalogue.listed([one]))
    stays = asyncio.create_task(catalogue.listed([one]))
    await reached.wait()
    leaves.cancel()
    await asyncio.wait([leaves])
    gate.set()
    assert list(await stays) == ["a"]


async def test_a_server_that_hangs_is_left_out_in_the_end(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that answered are listed."""
    monkeypatch.setattr("igw.payload.catalogue._ANSWER_SECONDS", 0.3)
    never = asyncio.Event()

    async def hang() -> Any:
        await never.wait()

    hung, good = await servers.start(hang), await servers.start(lambda: page("a"))
    catalogue = await servers.catalogue()
    assert list(await catalogue.listed([pool("one", hung, good)])) == ["a"]


async def test_of_a_large_pool_not_all_are_asked(servers: Servers) -> None:
    """A list must not cost a thousand requests."""
    endpoint = await servers.start(lambda: page("a"))
    catalogue = await servers.catalogue()
    assert list(await catalogue.listed([pool("one", *[endpoint] * 200)])) == ["a"]
    assert servers.asked == 64
