"""Producers, screeners and hooks: in order, together, in time, and never at the request's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints
from igw.facts import Column, Facts
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.prefix.index import DEFAULT_CAPACITY_TOKENS, PrefixIndex
from igw.request import Head, Request
from igw.routing.pools import Pools
from igw.routing.producing import Waited
from igw.routing.router import Router
from igw.scheduling import instances
from igw.scheduling.instances import Instances
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.producers.approx_prefix_cache import ApproxPrefixCacheProducer
from igw.scheduling.profile import Profile, Weighted
from igw.scheduling.scheduler import Scheduler

ENDPOINTS = tuple(Endpoint.at(f"10.0.0.{last}", 8000) for last in (1, 2, 3))
REQUEST = Request(Head("/v1/completions", "POST", {}))
Produce = Callable[[Request, Facts], Any]


class By:
    """A producer of one fact, made of a function."""

    type = "by"

    def __init__(self, fact: str, produce: Produce, deadline_seconds: float = 30.0) -> None:
        self.provides = (fact,)
        self.produce = produce
        self.deadline_seconds = deadline_seconds


class Seen:
    """A scorer that scores by what a producer found out, and keeps the facts."""

    type = "seen"

    def __init__(self) -> None:
        self.facts: list[Facts] = []
        self.load: list[float] = []

    def score(self, _request: Request, facts: Facts) -> Column:
        self.facts.append(facts)
        self.load.append(float(facts.inflight.sum()))  # a column is only good for the moment
        found: Column = facts.produced.get("Good/good", np.zeros(len(facts.inflight)))
        return found


class Routing:
    """A router over one pool, with the plugins of a configuration."""

    def __init__(self, by_name: dict[str, Any], *levels: tuple[str, ...]) -> None:
        self.seen = Seen()
        self.prefix, self.ledger = PrefixIndex(), Ledger(60)
        self.pools = Pools(self.prefix, self.ledger)
        self.failures: list[tuple[str, str, str]] = []
        self.plugins = instances.of(by_name, levels)
        profile = Profile((Weighted("seen", self.seen, 1.0),), MaxScorePicker())
        scheduler = Scheduler({"default": profile}, plugins=self.plugins)
        self.router = Router(self.pools, self.prefix, self.ledger, scheduler, lambda: 1.0)
        self.router.plugin_failed = lambda *what: self.failures.append(what)
        self.serve(ENDPOINTS)

    def serve(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Serve with *endpoints* from now on."""
        self.pools.adopt({"default/p": Pool("p", "default", endpoints)})

    async def route(self) -> Decision:
        """Decide one request."""
        return await self.router.route(REQUEST)

    @property
    def produced(self) -> dict[str, Any]:
        """What was found out for the last request."""
        return dict(self.seen.facts[-1].produced)


def good(*scores: float) -> Column:
    """Return a column."""
    return np.array(scores)


async def test_what_a_producer_finds_out_decides() -> None:
    """Its fact is there when the request is ranked."""
    routing = Routing({"good": By("Good", lambda _r, _f: {"Good": good(0, 1, 0)})}, ("good",))
    assert (await routing.route()).endpoint == ENDPOINTS[1]


async def test_a_later_level_sees_what_an_earlier_one_found() -> None:
    """And nothing of its own level."""
    seen: list[set[str]] = []

    def look(name: str) -> Produce:
        def produce(_request: Request, facts: Facts) -> dict[str, Any]:
            seen.append(set(facts.produced))
            return {name: 1}

        return produce

    plugins = {name: By(name, look(name)) for name in "abc"}
    await Routing(plugins, ("a", "b"), ("c",)).route()
    assert seen == [set(), set(), {"a/a", "b/b"}]


@pytest.mark.parametrize("answer", [RuntimeError("no"), None, 3])
async def test_a_producer_that_fails_costs_its_fact_only(answer: Any) -> None:
    """The others' facts are there, and the failure is counted."""

    def fail(_request: Request, _facts: Facts) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    routing = Routing(
        {"bad": By("Bad", fail), "good": By("Good", lambda _r, _f: {"Good": good(0, 0, 1)})}, ("bad", "good")
    )
    assert (await routing.route()).endpoint == ENDPOINTS[2]
    assert set(routing.produced) == {"Good/good"}
    assert routing.failures == [("by", "bad", "error")]


async def test_those_of_a_level_that_take_their_time_run_together() -> None:
    """Each waits for the other, which only ends if both have been started."""
    both = asyncio.Barrier(2)

    async def meet(_request: Request, _facts: Facts) -> dict[str, Any]:
        await both.wait()
        return {"Good": good(1, 0, 0)}

    routing = Routing({"a": By("A", meet), "good": By("Good", meet)}, ("a", "good"))
    async with asyncio.timeout(30):
        assert (await routing.route()).endpoint == ENDPOINTS[0]
    assert set(routing.produced) == {"Good/a", "Good/good"}


async def test_a_late_one_is_cancelled_and_its_fact_is_missing() -> None:
    """Those that were in time count."""
    cancelled = asyncio.Event()

    async def never(_request: Request, _facts: Facts) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    async def soon(_request: Request, _facts: Facts) -> dict[str, Any]:
        return {"Good": good(0, 1, 0)}

    routing = Routing({"late": By("Late", never, 0.01), "good": By("Good", soon, 0.01)}, ("late", "good"))
    assert (await routing.route()).endpoint == ENDPOINTS[1]
    assert cancelled.is_set()
    assert routing.failures == [("by", "late", "late")]
    assert set(routing.produced) == {"Good/good"}


async def test_an_asynchronous_one_that_fails_costs_its_fact_only() -> None:
    """Also if it says that it ran out of time itself."""

    async def fail(_request: Request, _facts: Facts) -> dict[str, Any]:
        raise TimeoutError

    async def soon(_request: Request, _facts: Facts) -> dict[str, Any]:
        return {"Good": good(0, 0, 1)}

    routing = Routing({"bad": By("Bad", fail), "good": By("Good", soon)}, ("bad", "good"))
    assert (await routing.route()).endpoint == ENDPOINTS[2]
    assert routing.failures == [("by", "bad", "error")]


async def test_the_load_is_that_of_the_moment_of_the_pick() -> None:
    """Two requests that waited at the same time still see each other: facts are gathered again when the wait is over."""
    both = asyncio.Barrier(2)

    async def meet(_request: Request, _facts: Facts) -> dict[str, Any]:
        await both.wait()
        return {"Good": good(1, 1, 1)}

    routing = Routing({"good": By("Good", meet)}, ("good",))
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(routing.route())
        group.create_task(routing.route())
    assert routing.seen.load == [0, 1]


async def test_an_endpoint_that_leaves_while_a_request_waits_is_not_picked() -> None:
    """What was found out for those that stay still counts, in their order."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_request: Request, _facts: Facts) -> dict[str, Any]:
        asked.set()
        await go_on.wait()
        return {"Good": good(0.2, 1.0, 0.5)}

    routing = Routing({"good": By("Good", wait)}, ("good",))
    async with asyncio.timeout(30):
        route = asyncio.create_task(routing.route())
        await asked.wait()
        routing.serve((ENDPOINTS[2], ENDPOINTS[0]))
        go_on.set()
        assert (await route).endpoint == ENDPOINTS[2]
    assert routing.produced["Good/good"].tolist() == [0.5, 0.2]


def test_what_was_not_asked_for_is_missing() -> None:
    """An endpoint came while the producer was busy: no number is made up for it."""
    waited = Waited(ENDPOINTS[:2], {"good": {"Good": good(1, 0)}})
    assert waited.at(ENDPOINTS) == {}
    assert waited.at(ENDPOINTS[:2]) is waited.found
    pair = Waited(ENDPOINTS[:2], {"p": {"Pair": (good(1, 0), 7), "Word": "x"}}).at(ENDPOINTS[1:2])["p"]
    assert (pair["Pair"][0].tolist(), pair["Pair"][1], pair["Word"]) == ([0.0], 7, "x")


class Screen:
    """A screener that keeps endpoints by their last digits."""

    type = "screen"

    def __init__(self, *last: int) -> None:
        self.last = last

    def screen(self, _request: Request, endpoints: tuple[Endpoint, ...]) -> Any:
        return np.array([int(endpoint.address[-1]) in self.last for endpoint in endpoints])


async def test_screeners_intersect() -> None:
    """Each sees all endpoints; who is left is a candidate, and facts are of those."""
    routing = Routing({"a": Screen(1, 3), "b": Screen(2, 3)})
    decision = await routing.route()
    assert decision.candidates == (ENDPOINTS[2],)
    assert len(routing.seen.facts[-1].inflight) == 1
    with pytest.raises(NoEndpoints, match="screeners left no endpoint"):
        await Routing({"a": Screen(1), "b": Screen(2)}).route()


class Listening:
    """A plugin that keeps what it is told."""

    def __init__(self, *, broken: bool = False) -> None:
        self.told: list[Any] = []
        self._broken = broken

    def _tell(self, *what: Any) -> None:
        self.told.append(what)
        if self._broken:
            raise RuntimeError("a plugin's own mistake")

    def decided(self, decision: Decision) -> None:
        self._tell("decided", decision.id)

    def ended(self, decision: Decision, outcome: Outcome) -> None:
        self._tell("ended", decision.id, outcome.end)

    def left(self, hostport: str) -> None:
        self._tell("left", hostport)


async def test_plugins_are_told_of_picks_ends_and_endpoints_that_leave() -> None:
    """Each of them, also if one before it fails."""
    first, second = Listening(broken=True), Listening()
    routing = Routing({"a": first, "b": second})
    decision = await routing.route()
    routing.ledger.close(decision.id, Outcome(End.UNKNOWN))
    routing.serve(ENDPOINTS[:2])
    assert first.told == second.told == [
        ("decided", decision.id), ("ended", decision.id, End.UNKNOWN), ("left", ENDPOINTS[2].hostport),
    ]  # fmt: skip


async def test_a_swapped_scheduler_is_the_one_that_is_told() -> None:
    """Of ends of requests that the one before decided, too."""
    old, new = Listening(), Listening()
    routing = Routing({"a": old})
    decision = await routing.route()
    routing.router.use(Scheduler.of((), MaxScorePicker()))
    routing.router.use(Scheduler({}, plugins=instances.of({"b": new})))
    routing.ledger.close(decision.id, Outcome(End.UNKNOWN))
    assert [what[0] for what in old.told] == ["decided"]
    assert [what[0] for what in new.told] == ["ended"]


def test_a_configuration_says_how_large_the_index_is() -> None:
    """Endpoints that said so themselves count again when it lets them."""
    routing = Routing({"p": ApproxPrefixCacheProducer(auto_tune=False, lru_capacity_per_server=100)})
    slot = routing.prefix.slot(ENDPOINTS[0].hostport)
    routing.prefix.resize(slot, 1_000_000)
    routing.prefix.record(slot, list(range(1, 200)))
    held = routing.prefix.statistics().entries
    assert held < 199
    routing.router.use(Scheduler({}, plugins=Instances()))
    routing.prefix.record(slot, list(range(1, 200)))
    assert routing.prefix.statistics().entries == 199
    assert DEFAULT_CAPACITY_TOKENS == Instances().capacity_tokens
