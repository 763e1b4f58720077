"""What operators ask of a server: readiness, load, sleep, an empty cache."""

from __future__ import annotations

import asyncio

import pytest

from igw.simulator.manifest import SimulatorSpec
from tests.simulator.http.recorded import ANSWERS
from tests.simulator.site import HELLO, Site, start

ASK = {"messages": HELLO, "max_tokens": 4}


async def status(site: Site, method: str, path: str) -> int:
    """The status of an answer without a body."""
    async with site.http.request(method, path) as response:
        return response.status


async def test_health_and_version_are_those_of_vllm(site: Site) -> None:
    """`/ping` is the health route of SageMaker."""
    for method, path in (("GET", "/health"), ("GET", "/ping"), ("POST", "/ping")):
        assert await status(site, method, path) == 200
    assert await site.get("/version") == (200, ANSWERS["version"])
    assert await site.get("/load") == (200, ANSWERS["load"])


async def test_a_server_that_loads_is_not_ready() -> None:
    """Health and the APIs; nothing has to be polled, the answer is at once."""
    async with start(SimulatorSpec(model="demo", loading_seconds=3600)) as site:
        assert await status(site, "GET", "/health") == 503
        for path, ask in (
            ("/v1/chat/completions", ASK),
            ("/v1/embeddings", {"input": "x"}),
            ("/v1/images/generations", {"prompt": "x"}),
        ):
            got, body = await site.post(path, ask)
            assert (got, body["error"]["type"]) == (503, "ServiceUnavailableError")
        assert (await site.post("/v1/messages", {}))[1]["error"]["type"] == "overloaded_error"
        assert await status(site, "GET", "/metrics") == 200


async def test_loading_takes_less_time_on_a_faster_server() -> None:
    """Every duration is divided by the speed."""
    async with start(SimulatorSpec(model="demo", loading_seconds=3600, speed=1e9)) as site:
        assert await status(site, "GET", "/health") == 200


async def test_requests_under_way_are_counted(site: Site) -> None:
    """Until their last byte."""
    ask = ASK | {"stream": True, "max_tokens": 50_000}
    async with site.http.post("/v1/chat/completions", json=ask) as response:
        await response.content.readline()
        assert await site.get("/load") == (200, {"server_load": 1})
        response.close()
    async with asyncio.timeout(30):
        await site.server.state.quiet.wait()
    assert await site.get("/load") == (200, {"server_load": 0})


@pytest.mark.parametrize("level", ["", "?level=1", "?level=2"])
async def test_a_server_that_sleeps_forgets_its_cache_and_answers_when_woken(site: Site, level: str) -> None:
    """Requests that come meanwhile wait."""
    await site.post("/v1/chat/completions", ASK)
    assert await status(site, "POST", f"/sleep{level}") == 200
    assert await site.get("/is_sleeping") == (200, {"is_sleeping": True})
    waiting = asyncio.create_task(site.post("/v1/chat/completions", ASK))
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    assert await status(site, "POST", "/wake_up") == 200
    async with asyncio.timeout(30):
        got, body = await waiting
    assert (got, body["usage"]["prompt_tokens_details"]["cached_tokens"]) == (200, 0)
    assert await site.get("/is_sleeping") == (200, {"is_sleeping": False})


async def test_there_are_two_levels_of_sleep(site: Site) -> None:
    """Nothing happens otherwise."""
    async with site.http.post("/sleep?level=3") as response:
        assert response.status == 400
    assert await site.get("/is_sleeping") == (200, {"is_sleeping": False})


async def test_the_prefix_cache_can_be_reset_while_no_block_is_in_use(site: Site) -> None:
    """The next request computes its whole prompt."""

    async def cached() -> int:
        _, body = await site.post("/v1/chat/completions", ASK)
        return int(body["usage"]["prompt_tokens_details"]["cached_tokens"])

    await cached()
    assert await cached() > 0
    async with site.http.post("/reset_prefix_cache") as response:
        assert (response.status, await response.json()) == (200, {"success": True})
    assert await cached() == 0
    ask = ASK | {"stream": True, "max_tokens": 50_000}
    async with site.http.post("/v1/chat/completions", json=ask) as running:
        await running.content.readline()
        async with site.http.post("/reset_prefix_cache") as response:
            assert await response.json() == {"success": False}
        running.close()
