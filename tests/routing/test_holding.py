"""The queues of all pools: kept over edits, and told of whatever makes room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints, Rejected, ShuttingDown
from igw.flow.settings import Settings
from igw.outcomes.outcome import End, Outcome
from igw.routing import queue_gauges
from igw.routing.holding import Holding
from igw.routing.observed_queues import ObservedQueues
from igw.scheduling.filters.concurrency_detector import ConcurrencyDetector
from igw.telemetry.families import Families
from tests.routing.test_router import ENDPOINTS, Routing, chat


class Desk(Routing):
    """One pool whose endpoint takes one request, and its queue."""

    def __init__(self) -> None:
        super().__init__(p=ENDPOINTS[:1])
        for columns in self.pools.all():
            columns.report(ENDPOINTS[0].hostport, 0.0, 0.0, 0.0)
        self.families = Families()
        self.router.detector = ConcurrencyDetector(max_concurrency=1)
        self.holding = Holding(
            self.router, self.pools, self.ledger, lambda: self.now, lambda _: None,
            ObservedQueues(self.families, lambda: self.now),
        )  # fmt: skip
        self.holding.use(Settings())

    def send(self, text: str = "hello", **fields: Any) -> asyncio.Task[Decision]:
        """Let a request come."""
        return asyncio.create_task(self.router.route(chat(text, **fields)))

    async def waits(self, count: int) -> None:
        """Return once so many wait."""
        async with asyncio.timeout(2):
            while len(self.holding) != count:
                await asyncio.sleep(0)

    def end(self, decision: Decision) -> None:
        """Let one end."""
        self.ledger.close(decision.id, Outcome(End.COMPLETE, 200))


async def test_an_end_makes_room_for_the_next() -> None:
    """Who waited says for how long, so that nobody takes it for the server's slowness."""
    desk = Desk()
    first = await desk.send()
    second = desk.send()
    await desk.waits(1)
    desk.now += 3.0
    desk.end(first)
    assert (await second).waited_seconds == 3.0
    assert first.waited_seconds == 0.0
    seconds = desk.families.registry.get_sample_value
    labels = {
        "fairness_id": "default-flow", "priority": "0", "outcome": "Dispatched", "inference_pool": "default/p",
        "model_name": first.request.model, "target_model_name": first.request.model,
    }  # fmt: skip
    name = "llm_d_epp_flow_control_request_queue_duration_seconds"
    assert (seconds(f"{name}_count", labels), seconds(f"{name}_sum", labels)) == (2.0, 3.0)


async def test_a_scrape_leads_to_a_look_soon() -> None:
    """Many of them to one."""
    desk = Desk()
    await desk.send()
    waiting = desk.send()
    await desk.waits(1)
    desk.router.detector = None
    for _ in range(3):
        desk.holding.scraped("default/p")
    await waiting


async def test_other_settings_keep_those_who_wait() -> None:
    """They go on waiting by the old ones; newcomers by the new."""
    desk = Desk()
    first = await desk.send()
    waiting = desk.send()
    await desk.waits(1)
    desk.holding.use(Settings(request_ttl_seconds=5.0))
    assert len(desk.holding) == 1
    desk.end(first)
    second = await waiting
    desk.holding.use(None)
    assert desk.router.flows == {}
    assert (await desk.send()).id != second.id


async def test_equal_settings_change_nothing() -> None:
    """The queue is the same one."""
    desk = Desk()
    before = desk.holding.statistics()
    await desk.send()
    desk.holding.use(Settings())
    assert desk.holding.statistics()["default/p"].inflight == before["default/p"].inflight + 1


async def test_a_pool_without_endpoints_is_waited_for_where_that_is_wanted() -> None:
    """Else one is told at once."""
    desk = Desk()
    desk.pools.adopt({"default/p": Pool("p", "default", ())})
    desk.holding.use(Settings())
    with pytest.raises(NoEndpoints):
        await desk.send()
    desk.holding.use(Settings(), when_empty=True)
    waiting = desk.send()
    await desk.waits(1)
    desk.pools.adopt({"default/p": Pool("p", "default", ENDPOINTS[:1])})
    desk.holding.use(Settings(), when_empty=True)
    assert (await waiting).endpoint == ENDPOINTS[0]


async def test_draining_serves_who_waits_and_turns_the_rest_away() -> None:
    """As long as there is time."""
    desk = Desk()
    first = await desk.send()
    served, late = desk.send(), desk.send()
    await desk.waits(2)
    emptied = asyncio.create_task(desk.holding.emptied())
    asyncio.get_running_loop().call_later(0.05, desk.holding.stop)
    await asyncio.sleep(0)
    desk.end(first)
    await served
    await emptied
    with pytest.raises(ShuttingDown):
        await late
    with pytest.raises(ShuttingDown):
        await desk.send()


async def test_a_pool_that_goes_takes_nobody_along_in_silence() -> None:
    """Who waits for it is told."""
    desk = Desk()
    await desk.send()
    waiting = desk.send()
    await desk.waits(1)
    desk.pools.adopt({})
    desk.holding.use(Settings())
    with pytest.raises(Rejected):
        await waiting


async def test_a_client_that_leaves_is_counted() -> None:
    """And its place is free at once."""
    desk = Desk()
    await desk.send()
    waiting = desk.send()
    await desk.waits(1)
    page = {metric.name: metric for metric in queue_gauges.collect(desk.holding)}
    (size,) = page["llm_d_epp_flow_control_queue_size"].samples
    assert (size.value, size.labels["fairness_id"], size.labels["inference_pool"]) == (
        1,
        "default-flow",
        "default/p",
    )
    full = page["llm_d_epp_flow_control_pool_saturation"].samples
    assert {"effective": 1.0, "decode": 1.0} == {each.labels["stage"]: each.value for each in full}
    waiting.cancel()
    await desk.waits(0)
    counted = {
        each.labels["outcome"]: each.value
        for each in {m.name: m for m in queue_gauges.collect(desk.holding)}[
            "llm_d_epp_flow_control_requests"
        ].samples
    }
    assert counted == {"Dispatched": 1.0, "EvictedContextCancelled": 1.0}


async def test_how_full_it_is_is_told_by_stage() -> None:
    """By the role that a label says; who has none decodes. What is full of one stage is not of another."""
    desk = Desk()
    label = "llm-d.ai/role"
    roles = ("prefill", "decode", "both", "encode")
    endpoints = tuple(
        Endpoint.at(f"10.0.1.{number}", 8000, labels={label: role}) for number, role in enumerate(roles)
    )
    desk.pools.adopt({"default/p": Pool("p", "default", endpoints)})
    for columns in desk.pools.all():
        for endpoint in endpoints[:3]:
            columns.report(endpoint.hostport, 0.0, 0.0, 0.0)
        columns.inflight[columns.row[endpoints[0].hostport]] = 1
    page = {metric.name: metric for metric in queue_gauges.collect(desk.holding)}
    full = page["llm_d_epp_flow_control_pool_saturation"].samples
    assert {"effective": 0.25, "prefill": 0.5, "decode": 0.0} == {
        each.labels["stage"]: each.value for each in full
    }
    (stale,) = page["llm_d_epp_flow_control_stale_endpoints"].samples
    assert (stale.labels, stale.value) == ({"detector": "concurrency-detector"}, 1)


async def test_a_pool_without_endpoints_is_full_and_has_no_stages() -> None:
    """As upstream says it."""
    desk = Desk()
    desk.pools.adopt({"default/p": Pool("p", "default", ())})
    assert [("default/p", "effective", 1.0)] == list(desk.holding.saturation())
