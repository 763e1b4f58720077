"""Decisions over HTTP, and `igw explain` in front of them; what clients are told with their answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from igw.decision import NO_RESERVATION
from igw.errors import QueueFull
from igw.explaining.explaining import Explaining
from igw.explaining.pages import Pages
from igw.explaining.queues import ExplainedQueues
from igw.explaining.settings import Settings
from igw.explaining.telling import ASKS, ID, WHY, telling
from igw.flow.settings import Settings as FlowSettings
from igw.request import Request
from igw.routing.holding import Bare, Holding
from igw.telemetry.families import Families
from tests.explaining.scenes import Scene, chat


@contextlib.asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[str]:
    """Serve what is kept; gives the URL."""
    app = web.Application()
    app.router.add_routes(Pages(scene.recorder, lambda: scene.now).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def got(url: str) -> tuple[int, Any]:
    """Return status and JSON."""
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.json()


async def explain(*arguments: str) -> tuple[int, str]:
    """Return the exit status of `igw explain` and what it said."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "igw", "explain", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


async def test_decisions_are_listed_and_one_is_told() -> None:
    """With how much is kept; ids are strings, which JavaScript does not round."""
    scene = Scene()
    for number in range(3):
        await scene.sent(chat(str(number), f"request-{number}"))
    async with served(scene) as url:
        status, listed = await got(f"{url}/debug/decisions?limit=2")
        assert status == 200
        assert [each["request_id"] for each in listed["decisions"]] == ["request-2", "request-1"]
        assert listed["kept"]["decisions"] == 3
        last = listed["decisions"][0]
        status, found = await got(f"{url}/debug/decisions/{last['id']}")
        assert (status, found["sentence"]) == (200, last["sentence"])
        assert isinstance(found["id"], str)
        assert abs(found["at"] - last["at"]) < 1.0


async def test_what_cannot_be_answered_says_what_would_be_right() -> None:
    """An id that is not known, a limit that is no number."""
    scene = Scene()
    await scene.sent(chat("a", "0d5bb735-0244-4709"))
    async with served(scene) as url:
        status, said = await got(f"{url}/debug/decisions/0d5bb753-0244-4709")
        assert (status, said["nearest"]) == (404, ["0d5bb735-0244-4709"])
        status, said = await got(f"{url}/debug/decisions?limit=many")
        assert (status, said["error"]) == (400, "limit='many' is not a number from 1 to 1000")
        assert (await got(f"{url}/debug/decisions?before=what"))[0] == 404


async def test_the_command_line_says_why() -> None:
    """By id, the latest, as a list, as JSON; an error is one sentence."""
    scene = Scene()
    decision = await scene.sent(chat("x" * 4000, "0d5bb735-0244-4709"))
    scene.end(decision, prompt_tokens=1010, completion_tokens=20, cached_tokens=0)
    scene.recorder.refused(chat("b", "turned-away"), QueueFull("the queue is full"))
    async with served(scene) as url:
        told, last, listed, raw, wrong = await asyncio.gather(
            explain("0d5bb735", "--url", url),
            explain("--last", "--url", url),
            explain("--url", url),
            explain(str(decision.id), "--json", "--url", url),
            explain("0d5bb735-0244-4700", "--url", url),
        )
    assert told[0] == 0
    assert told[1].startswith(f"{decision.endpoint.name}, because it would add")
    for word in ("picked", "retry 1", "prefill", "predicted, 200 ms", "0 found", "status 200"):
        assert word in told[1], told[1]
    assert last[1].startswith(("Nowhere", decision.endpoint.name))
    assert [word in listed[1] for word in ("0d5bb735", "turned-a", "429")] == [True] * 3
    assert json.loads(raw[1])["endpoint"] == decision.endpoint.hostport
    assert wrong[0] == 1
    assert "the nearest is 0d5bb735-0244-4709" in wrong[1]
    nobody = await explain("--last", "--url", "http://127.0.0.1:1")
    assert nobody[0] == 1
    assert "no picker answers" in nobody[1]


async def test_a_client_that_asks_is_told_and_no_other() -> None:
    """By headers of the answer, and for a gateway that does not show it in the pick's metadata."""
    scene = Scene()
    route = telling(scene.router.route, scene.recorder)
    plain = await route(chat("a"))
    assert plain.delivery.answer_headers == plain.delivery.metadata == {}
    request = chat("b")
    headers = {**request.head.headers, ASKS: "True"}
    asking = msgspec.structs.replace(request, head=msgspec.structs.replace(request.head, headers=headers))
    decision = await route(asking)
    said = decision.delivery.answer_headers
    assert said == decision.delivery.metadata["envoy.lb"]
    assert said[ID] == str(decision.id)
    assert said[WHY].startswith(f"{decision.endpoint.name}, ")

    async def elsewhere(request: Request) -> Any:
        return msgspec.structs.replace(await scene.router.route(request), id=NO_RESERVATION)

    assert (await telling(elsewhere, scene.recorder)(asking)).delivery.answer_headers == {}


async def test_a_queue_that_turns_somebody_away_tells_who_it_was() -> None:
    """With how many waited then; what its clients get is the same."""
    scene = Scene(1)
    queues = ExplainedQueues(Bare(), scene.recorder, lambda: scene.now)
    holding = Holding(scene.router, scene.pools, scene.ledger, lambda: scene.now, lambda _: None, queues)
    holding.use(FlowSettings(max_requests=1))
    promises = scene.pools.promises_of(scene.columns)
    slot = int(scene.columns.slots[0])
    for number in range(200):
        promises.send(number + 1, slot, 100_000, 100_000, scene.now, stream=True)
    waiting = asyncio.create_task(scene.sent(chat("a", "waits")))
    await asyncio.sleep(0)
    request = chat("b", "turned-away")
    try:
        await scene.router.route(request)
    except QueueFull as full:
        scene.recorder.refused(request, full)
    holding.stop()
    await asyncio.gather(waiting, return_exceptions=True)
    found = scene.asked("turned-away")
    assert found.refusal is not None
    assert (found.refusal.queue_outcome, found.refusal.waiting) == ("RejectedCapacity", 1)
    assert found.asked.pool == "default/p"


async def test_off_nothing_of_it_is_there() -> None:
    """No watcher, no wrapper, and the pages say that nothing is kept."""
    scene = Scene()
    scene.router.watchers = ()
    families, queues = Families(), Bare()
    off = Explaining(Settings(seconds=0, header=True), scene.router, scene.ledger, scene.prefix, families, lambda: scene.now)  # fmt: skip

    def refused(_request: Request | None, _rejected: Exception) -> None: ...

    assert scene.router.watchers == ()
    assert off.around(queues) is queues
    assert off.refusing(refused) is refused
    assert off.route(scene.router.route) == scene.router.route
    assert len(list(off.routes())) == 2


async def test_hits_are_counted_against_all_that_is_held() -> None:
    """One decision in ten; the prompt was with another endpoint than the one that could be picked."""
    scene, families = Scene(2), Families()
    Explaining(Settings(), scene.router, scene.ledger, scene.prefix, families, lambda: scene.now)
    prompt = "x" * 4000
    first = await scene.sent(chat(prompt))
    other = next(each for each in first.candidates if each is not first.endpoint)
    while True:
        decision = await scene.sent(chat(prompt, subset=(other.hostport,)))
        if decision.id % 10 == 0:
            break
        scene.prefix.forget(scene.prefix.slot(other.hostport))
    sample = families.registry.get_sample_value
    tokens = {of: sample("igw_prefix_tokens_total", {"of": of}) for of in ("prompt", "picked", "anywhere")}
    assert tokens["picked"] == 0
    assert 960 <= (tokens["anywhere"] or 0) <= (tokens["prompt"] or 0)
    assert (sample("igw_explained_decisions", {"result": "picked"}) or 0) > 1
    assert (sample("igw_explained_bytes") or 0) > 1000
