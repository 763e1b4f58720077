"""The routes that set faults, plan them, and restart a server."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from igw.simulator.faults import Faults, Planned, Restart, Unready
from igw.simulator.manifest import SimulatorSpec
from tests.simulator.site import HELLO, Site, start

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": HELLO, "max_tokens": 4}


async def healthy(site: Site) -> int:
    """Status of the health route, once the server listens."""
    async with asyncio.timeout(10):
        await site.server.saboteur.alive.wait()
    async with site.http.get("/health") as response:
        return response.status


async def test_faults_are_shown_with_what_remains_of_them(site: Site) -> None:
    """A count falls, and a rule without any left is gone."""
    rule = {"fault": "error", "status": 500, "count": 2}
    assert await site.post("/igw/faults", {"rules": [rule]}) == (200, {"rules": [rule]})
    await site.post(CHAT, BODY)
    assert await site.get("/igw/faults") == (200, {"rules": [rule | {"count": 1}]})
    await site.post(CHAT, BODY)
    assert await site.get("/igw/faults") == (200, {})


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/igw/faults", {"rules": [{"fault": "explode"}]}, "Known faults: refuse, hang, abort, "),
        (
            "/igw/faults",
            {"rules": [{"fault": "hang", "sahre": 1}]},
            "unknown field `sahre` - at `$.rules[0]`",
        ),
        ("/igw/schedule", [{"at_seconds": 1}], "either faults or restart - at `$[0]`"),
        ("/igw/restart", {"loading_seconds": -1}, "`$.loading_seconds`"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_place(
    site: Site, path: str, body: Any, message: str
) -> None:
    """And changes nothing."""
    status, reply = await site.post(path, body)
    assert status == 400
    assert message in reply["error"]["message"]
    assert site.server.faults == Faults()


async def test_a_body_that_is_no_json_is_refused(site: Site) -> None:
    """Here as elsewhere."""
    async with site.http.post("/igw/faults", data=b"{") as response:
        assert response.status == 400


async def test_a_schedule_set_over_http_happens(site: Site) -> None:
    """By time, and by the number of a request."""
    soon, later = {"at_seconds": 1, "faults": {"unready": True}}, {"at_request": 2, "faults": {}}
    assert await site.post("/igw/schedule", [soon, later]) == (200, [soon, later])
    async with asyncio.timeout(10):
        await site.server.saboteur.hang()
    assert await site.get("/igw/schedule") == (200, [later])
    assert [(await site.post(CHAT, BODY))[0] for _ in range(2)] == [503, 200]


async def test_a_schedule_of_a_manifest_begins_with_the_server() -> None:
    """Plans for other replicas are not this one's."""
    plan = [
        Planned(at_request=2, faults=Faults(rules=(Unready(),))),
        Planned(at_request=1, faults=Faults(unready=True), replica=7),
    ]
    async with start(SimulatorSpec(model="demo", speed=100, faults=plan)) as site:
        assert [(await site.post(CHAT, BODY))[0] for _ in range(2)] == [200, 503]


async def test_a_restart_cuts_connections_and_forgets_everything(site: Site) -> None:
    """Same port, no cache, counters at zero, 503 as long as it loads."""
    long = BODY | {"max_tokens": 100_000, "stream": True}
    async with site.http.post(CHAT, json=long) as response:
        await response.content.readline()
        assert await site.post("/igw/restart", {"loading_seconds": 1e6}) == (200, {"loading_seconds": 1e6})
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert await healthy(site) == 503
    assert (await site.post(CHAT, BODY))[0] == 503
    statistics = site.server.engine.statistics()
    assert (statistics.running, statistics.kv_usage, statistics.generation_tokens) == (0, 0, 0)
    async with site.http.get("/metrics") as page:
        lines = [
            line for line in (await page.text()).splitlines() if line.startswith("vllm:prompt_tokens_total")
        ]
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["0.0"]


async def test_after_a_restart_a_cached_prompt_is_computed_again(site: Site) -> None:
    """A body is not needed; faults of the life before are gone."""

    async def cached() -> int:
        _, reply = await site.post(CHAT, BODY)
        return int((reply["usage"]["prompt_tokens_details"] or {}).get("cached_tokens", 0))

    await site.post("/igw/faults", {"delay_seconds": 0.01})
    assert [await cached() > 0 for _ in range(2)] == [False, True]
    async with site.http.post("/igw/restart") as response:
        assert response.status == 200
    assert await healthy(site) == 200
    assert site.server.faults == Faults()
    assert await cached() == 0


async def test_a_restart_may_be_planned_for_a_request() -> None:
    """Which is cut; those after it find the server loading, and then well. A fault planned later still happens."""
    plan = [Planned(at_request=2, restart=Restart()), Planned(at_request=4, faults=Faults(unready=True))]
    async with start(SimulatorSpec(model="demo", speed=100, faults=plan)) as site:
        assert (await site.post(CHAT, BODY))[0] == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await site.post(CHAT, BODY)
        assert await healthy(site) == 200
        assert [(await site.post(CHAT, BODY))[0] for _ in range(2)] == [200, 503]
