"""A picker's state as an overview: columns of pools, health, queues, and what is not known."""

from __future__ import annotations

import asyncio

import msgspec

from igw.dashboard.overview import Health, Overview
from igw.dashboard.state import State
from igw.dashboard.traffic import Recent
from igw.facts import Adapters
from igw.flow.settings import Settings
from igw.outcomes.outcome import End, Outcome
from igw.scheduling.filters.concurrency_detector import ConcurrencyDetector
from tests.dashboard.conftest import Desk
from tests.routing.test_router import chat


def seen(desk: Desk) -> Overview:
    """Return the overview as those have it who read its JSON."""
    recent = Recent(desk.clock)
    state = State(desk.pools, desk.prefix, desk.ledger, recent, desk.clock)
    return msgspec.json.decode(msgspec.json.encode(state.overview(desk.holding)), type=Overview)


def test_what_an_engine_did_not_say_is_not_known() -> None:
    """The column holds the mean of the others, which is for scoring alone."""
    desk = Desk(3)
    first, second, _ = (each.hostport for each in desk.columns.pool.endpoints)
    desk.columns.report(first, 4.0, 2.0, 0.5)
    desk.columns.report(second, 0.0, 0.0, 0.0)
    desk.columns.fail(second)
    desk.columns.report_adapters(first, Adapters(running=frozenset({"sql"}), model="llama"))
    (pool,) = seen(desk).pools
    assert pool.key == "default/llama"
    assert pool.names == ["vllm-0000", "vllm-0001", "vllm-0002"]
    assert pool.accelerators == ["H100"] * 3
    assert (pool.waiting, pool.running, pool.kv_usage) == (
        [4.0, None, None],
        [2.0, None, None],
        [0.5, None, None],
    )
    assert pool.health == [Health.ANSWERS, Health.FAILING, Health.SILENT]
    assert pool.models == ["llama", "sql"]


def test_an_ejected_endpoint_is_out_and_then_returns() -> None:
    """For half a minute."""
    desk = Desk(2)
    desk.fill()
    desk.columns.eject(desk.columns.pool.endpoints[0].hostport, desk.now + 10)
    assert seen(desk).pools[0].health == [Health.EJECTED, Health.ANSWERS]
    desk.now += 11
    assert seen(desk).pools[0].health == [Health.RETURNING, Health.ANSWERS]
    desk.now += 30
    assert seen(desk).pools[0].health == [Health.ANSWERS, Health.ANSWERS]


async def test_a_decision_shows_as_load_cache_and_change() -> None:
    """At once; no scrape has to come first."""
    desk = Desk(2)
    before = seen(desk)
    decision = await desk.router.route(chat("x" * 4000))
    after = seen(desk)
    (pool,) = after.pools
    assert (before.inflight, after.inflight) == (0, 1)
    assert sum(pool.inflight) == 1
    assert max(pool.cached_tokens) > 500
    assert pool.cached_tokens[pool.inflight.index(1)] == max(pool.cached_tokens)
    assert all(most > held for most, held in zip(pool.cache_tokens, pool.cached_tokens, strict=True))
    assert after.changes > before.changes
    desk.ledger.close(decision.id, Outcome(End.COMPLETE, 200))
    assert seen(desk).inflight == 0


async def test_who_waits_is_shown_by_band_and_tenant() -> None:
    """The tenant with most first."""
    desk = Desk(1)
    desk.fill()
    desk.router.detector = ConcurrencyDetector(max_concurrency=1)
    desk.holding.use(Settings())
    first = await desk.router.route(chat())
    tasks = []
    for tenant, count in (("a", 1), ("b", 3)):
        for _ in range(count):
            request = msgspec.structs.replace(chat(), fairness_id=tenant)
            tasks.append(asyncio.create_task(desk.router.route(request)))
    async with asyncio.timeout(2):
        while len(desk.holding) < 4:
            await asyncio.sleep(0)
    (queue,) = seen(desk).queues
    assert (queue.pool, queue.requests, queue.inflight) == ("default/llama", 4, 1)
    assert queue.saturation >= 1.0
    assert [(each.fairness_id, each.requests) for each in queue.tenants] == [("b", 3), ("a", 1)]
    assert [each.requests for each in queue.bands if each.priority == 0] == [4]
    assert queue.tenants_total == 2
    desk.holding.stop()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert first.endpoint


def test_a_frame_of_a_thousand_servers_is_small() -> None:
    """Columns, not objects: under 120 bytes for each of them."""
    desk = Desk(1000)
    desk.fill()
    state = State(desk.pools, desk.prefix, desk.ledger, Recent(desk.clock), desk.clock)
    assert len(msgspec.json.encode(state.overview(desk.holding))) < 120_000
