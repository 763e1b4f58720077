"""Every fault as a client sees it, over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from igw.simulator.hardware.calibration import StepTime
from tests.simulator.site import HELLO, Site

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": HELLO, "max_tokens": 4}
SOON = aiohttp.ClientTimeout(total=0.3)


async def rules(site: Site, *faults: dict[str, Any]) -> None:
    """Put rules into force."""
    status, _ = await site.post("/igw/faults", {"rules": faults})
    assert status == 200


async def status(site: Site, path: str = CHAT, **fields: Any) -> int:
    """Status of a request of the API."""
    async with site.http.post(path, json=BODY | fields) as response:
        return response.status


async def test_a_refused_request_finds_its_connection_reset(site: Site) -> None:
    """The API only, unless a path says otherwise; the control routes always answer."""
    await rules(site, {"fault": "refuse", "count": 2})
    with pytest.raises(aiohttp.ClientConnectionError):
        await status(site)
    async with site.http.get("/health") as response:
        assert response.status == 200
    await rules(site, {"fault": "refuse", "path": "/"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await site.http.get("/health")
    assert await site.post("/igw/faults", {}) == (200, {})
    assert await status(site) == 200


async def test_a_request_may_hang_from_the_start_until_the_faults_change(site: Site) -> None:
    """It holds no slot meanwhile, and a client that waits no longer is let go."""
    await rules(site, {"fault": "hang", "count": 2})
    with pytest.raises(TimeoutError):
        await site.http.post(CHAT, json=BODY, timeout=SOON)
    hanging = asyncio.create_task(status(site))
    assert await status(site, max_tokens=1) == 200 or hanging.done()
    assert site.server.engine.statistics().running == 0
    await site.post("/igw/faults", {})
    assert await hanging == 200


async def test_a_stream_may_hang_after_its_first_token(site: Site) -> None:
    """Role and one token come, then nothing until the faults change, then the rest."""
    await rules(site, {"fault": "hang", "point": "after-first-token"})
    async with site.http.post(CHAT, json=BODY | {"stream": True}) as response:
        lines = [await response.content.readline() for _ in range(4)]
        assert sum(line.startswith(b"data: ") for line in lines) == 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await response.content.readline()
        await site.post("/igw/faults", {})
        assert (await response.content.read()).endswith(b"data: [DONE]\n\n")


async def test_an_answer_that_is_not_streamed_may_hang_amid_its_tokens(site: Site) -> None:
    """A client sees nothing at all; its going away ends the sequence."""
    await rules(site, {"fault": "hang", "point": "after-first-token", "count": 1})
    with pytest.raises(TimeoutError):
        await site.http.post(CHAT, json=BODY, timeout=SOON)
    await site.idle()
    assert await status(site) == 200


async def test_every_second_request_may_fail(site: Site) -> None:
    """With the status that was asked for."""
    await rules(site, {"fault": "error", "status": 529, "share": 0.5})
    assert [await status(site) for _ in range(4)] == [200, 529, 200, 529]


async def test_an_error_says_that_it_was_asked_for(site: Site) -> None:
    """In the API's shape."""
    await rules(site, {"fault": "error", "status": 500})
    code, body = await site.post(CHAT, BODY)
    assert (code, body["error"]["message"]) == (500, "This error was asked for.")


async def test_a_rule_may_be_for_one_adapter(site: Site) -> None:
    """A request that names no model is for the server's own."""
    await rules(site, {"fault": "error", "status": 500, "model": "tuned"})
    assert [await status(site, model=model) for model in ("demo", "tuned")] == [200, 500]
    await rules(site, {"fault": "error", "status": 500, "model": "demo"})
    assert [await status(site), await status(site, model="tuned")] == [500, 200]


async def test_garbage_is_no_json(site: Site) -> None:
    """A whole answer, and each token of a stream."""
    await rules(site, {"fault": "garbage"})
    async with site.http.post(CHAT, json=BODY) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            await response.json()
    async with site.http.post(CHAT, json=BODY | {"stream": True}) as response:
        events = (await response.text()).split("\n\n")
    assert sum(event == 'data: {"id": "garb' for event in events) == BODY["max_tokens"]
    assert events[-2:] == ["data: [DONE]", ""]


async def test_an_answer_may_break_off_after_some_tokens_of_each_api(site: Site) -> None:
    """Completions as well as chat; the slot is free then."""
    await rules(site, {"fault": "abort", "after_tokens": 2})
    for path, prompt in ((CHAT, BODY), ("/v1/completions", {"prompt": "once upon a time", "max_tokens": 9})):
        with pytest.raises(aiohttp.ClientPayloadError):
            async with site.http.post(path, json=prompt | {"stream": True}) as response:
                await response.read()
        await site.idle()
        assert site.server.engine.statistics().kv_usage == 0


async def test_a_delay_counts_as_time_to_first_token(site: Site) -> None:
    """It is waited before the body is read."""
    await rules(site, {"fault": "delay", "seconds": 0.2})
    await status(site)
    async with site.http.get("/metrics") as response:
        [line] = [
            each for each in (await response.text()).splitlines() if "to_first_token_seconds_sum{" in each
        ]
    assert float(line.rsplit(" ", 1)[1]) >= 0.2


async def test_a_slow_engine_takes_longer_over_every_step(site: Site) -> None:
    """Twenty tokens a hundred times as slow, on a server a hundred times as fast: the pace of a real one."""
    await rules(site, {"fault": "slow", "factor": 100})
    clock = asyncio.get_running_loop().time
    began = clock()
    assert await status(site, max_tokens=20) == 200
    assert clock() - began >= 20 * StepTime.load().seconds([], 1, 1, 0)
    await site.post("/igw/faults", {})
    assert site.server.driver.slow_factor == 1


async def test_an_unready_server_answers_503(site: Site) -> None:
    """As a rule as in the short form."""
    await rules(site, {"fault": "unready"})
    async with site.http.get("/health") as response:
        assert response.status == 503
    assert await status(site) == 503


async def test_a_stale_metrics_page_stays_as_it_was(site: Site) -> None:
    """Until the faults end."""

    async def page() -> str:
        async with site.http.get("/metrics") as response:
            assert response.content_type == "text/plain"
            return "\n".join(line for line in (await response.text()).splitlines() if "tokens_total" in line)

    before = await page()
    await rules(site, {"fault": "metrics", "page": "stale"})
    await status(site)
    assert await page() == before
    await site.post("/igw/faults", {})
    assert await page() != before


async def test_a_metrics_page_may_be_missing_or_stall(site: Site) -> None:
    """Who waits for a stalled one gets it when the faults end."""
    await rules(site, {"fault": "metrics", "page": "missing"})
    async with site.http.get("/metrics") as response:
        assert response.status == 404
    await rules(site, {"fault": "metrics", "page": "stalled"})
    with pytest.raises(TimeoutError):
        await site.http.get("/metrics", timeout=SOON)
    waiting = asyncio.create_task(site.http.get("/metrics"))
    assert await status(site) == 200
    await site.post("/igw/faults", {})
    assert (await waiting).status == 200


async def test_a_health_check_may_hang_alone(site: Site) -> None:
    """The API goes on."""
    await rules(site, {"fault": "hang", "path": "/health"})
    with pytest.raises(TimeoutError):
        await site.http.get("/health", timeout=SOON)
    assert await status(site) == 200
