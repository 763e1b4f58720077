"""What always holds, whatever comes in which order."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.flow.api import (
    Dispatched,
    Effect,
    Evicted,
    EvictInFlight,
    Fairness,
    Item,
    Ordering,
    Outcome,
    Rejected,
    Turn,
    Weight,
)
from igw.flow.band import BandSettings
from igw.flow.engine import Engine
from igw.flow.fairness.deficit_round_robin import DeficitRoundRobin
from igw.flow.fairness.dlpm import Dlpm
from igw.flow.fairness.global_strict import GlobalStrict
from igw.flow.fairness.program_aware import ProgramAware
from igw.flow.fairness.round_robin import RoundRobin
from igw.flow.fairness.virtual_token_counter import VirtualTokenCounter
from igw.flow.ordering.edf import Edf
from igw.flow.ordering.fcfs import Fcfs
from igw.flow.ordering.shortest_work import ShortestWork
from igw.flow.ordering.slo_deadline import SloDeadline
from igw.flow.revocation import RevocationSettings
from igw.flow.settings import Settings
from tests.flow.scenes import Claim, Pool

FAIRNESS = (
    GlobalStrict(),
    RoundRobin(),
    VirtualTokenCounter(),
    DeficitRoundRobin(quantum_tokens=50),
    Dlpm(),
    ProgramAware(),
)
ORDERING = (Fcfs(), Edf(), SloDeadline(), ShortestWork(guard_seconds=3), ShortestWork(tries=1, refreshed=0))

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("arrive"),
            st.sampled_from("xyz"),
            st.integers(-1, 1),
            st.sampled_from(["all", "a", "b|c"]),
            st.integers(1, 9),
            st.sampled_from(["1", "1", "2"]),
        ),
        st.tuples(st.just("end"), st.integers(0, 30), st.integers(0, 200)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("first"), st.integers(0, 30)),
        st.tuples(st.just("pool"), st.sampled_from(["", "a", "abc"])),
        st.tuples(st.just("expire")),
        st.tuples(st.just("pass"), st.floats(0, 4)),
    ),
    max_size=60,
)


class Witness:
    """Plays steps and keeps its own books beside the engine's."""

    def __init__(self, configured: Settings, claims: type[Claim] = Claim) -> None:
        self.claims = claims
        self.pool = Pool()
        self.engine = Engine(configured, self.pool.saturation, endpoints=0)
        self.now = 0.0
        self.items: dict[int, Item] = {}
        self.waiting: dict[int, Item] = {}
        self.inflight: set[int] = set()
        self.endings: Counter[int] = Counter()
        self.outcomes: Counter[tuple[Outcome, int]] = Counter()
        self.left: list[int] = []
        self.told: list[Effect] = []

    def step(self, what: str, *given: Any) -> None:
        """Carry out one step."""
        if what == "pass":
            self.now += given[0]
        elif what == "arrive":
            self.arrive(*given)
        elif what == "pool":
            self.pool.slots = dict.fromkeys(given[0], 2)
            self.note(self.engine.pool_changed(len(given[0]), self.now))
        elif what == "expire":
            self.note(self.engine.expire(self.now))
        elif what == "end" and given[0] in self.inflight:
            self.inflight.discard(given[0])
            self.pool.taken.pop(given[0], None)
            self.engine.ended(given[0], self.now, output_tokens=given[1])
            self.note(self.engine.changed(self.now))
        elif what == "cancel":
            self.note(self.engine.cancel(given[0], self.now))
        elif what == "first":
            self.engine.first_token(given[0])
            self.note(self.engine.changed(self.now))

    def arrive(self, flow: str, priority: int, lane: str, size: int, need: str) -> None:
        """Let one come."""
        number = len(self.items)
        item = Item(
            number, flow, priority, lane, size_bytes=size, prompt_tokens=size * 10, received_at=self.now
        )
        self.items[number] = self.waiting[number] = item
        claim = self.claims(self.pool, item, need=need, work=str(size), tokens=str(size * 10), output="5")
        self.note(self.engine.arrive(item, claim, self.now))

    def note(self, effects: list[Effect]) -> None:
        """Believe what the engine says."""
        self.told += effects
        for effect in effects:
            if isinstance(effect, EvictInFlight):
                assert effect.id in self.inflight
                continue
            self.endings[effect.id] += 1
            item = self.waiting.pop(effect.id)
            if isinstance(effect, Dispatched):
                self.inflight.add(effect.id)
                self.left.append(effect.id)
                self.outcomes[Outcome.DISPATCHED, item.priority] += 1
            elif isinstance(effect, Rejected | Evicted):
                self.outcomes[effect.outcome, item.priority] += 1


def configured(fairness: Fairness, ordering: Ordering) -> Settings:
    """Return settings under which everything can happen."""
    band = BandSettings(max_requests=6, max_bytes=40, fairness=fairness, ordering=ordering)
    shared = BandSettings(max_requests=6, fairness=fairness, ordering=ordering, minimum_share=0.3)
    return Settings(
        max_requests=10, max_bytes=60, request_ttl_seconds=10, no_endpoint_ttl_seconds=5, band=band, bands={-1: shared},
        revocation=RevocationSettings(grace_seconds=0.5),
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(steps=steps, fairness=st.sampled_from(FAIRNESS), ordering=st.sampled_from(ORDERING))
def test_nothing_is_lost_nothing_answered_twice_and_the_books_agree(
    steps: list[tuple[Any, ...]], fairness: Fairness, ordering: Ordering
) -> None:
    """After every step: limits hold, statistics are what a recount says, and deadlines are kept."""
    witness = Witness(configured(fairness, ordering))
    engine = witness.engine
    for step in steps:
        witness.step(*step)
        said = engine.statistics(witness.now)
        flows: dict[tuple[str, int], tuple[int, int]] = {}
        for item in witness.waiting.values():
            requests, size = flows.get((item.flow, item.priority), (0, 0))
            flows[item.flow, item.priority] = requests + 1, size + item.size_bytes
        assert said.flows == flows
        assert said.total.requests == len(witness.waiting) <= 10
        assert said.total.size_bytes == sum(item.size_bytes for item in witness.waiting.values()) <= 60
        for priority, fill in said.bands.items():
            own = [item for item in witness.waiting.values() if item.priority == priority]
            assert (fill.requests, fill.size_bytes) == (len(own), sum(item.size_bytes for item in own))
            assert fill.requests <= 6
        assert said.inflight == len(witness.inflight)
        assert said.outcomes == witness.outcomes
        assert all(witness.pool.used(name) <= 2 for name in witness.pool.slots)
        for request in witness.waiting:
            standing = engine.standing(request, witness.now)
            assert standing is not None
            assert 1 <= standing.position <= len(witness.waiting)
    witness.note(engine.expire(witness.now))
    assert engine.next_deadline(witness.now) > witness.now
    witness.note(engine.stop(witness.now))
    assert not witness.waiting
    assert witness.endings == dict.fromkeys(witness.items, 1)
    assert engine.statistics(witness.now).flows == {}


@settings(max_examples=100, deadline=None)
@given(steps=steps, fairness=st.sampled_from(FAIRNESS))
def test_first_come_is_first_served_within_a_flow(steps: list[tuple[Any, ...]], fairness: Fairness) -> None:
    """Of one priority and lane."""
    witness = Witness(configured(fairness, Fcfs()))
    for step in steps:
        witness.step(*step)
    order = defaultdict(list)
    for request in witness.left:
        item = witness.items[request]
        order[item.flow, item.priority, item.lane].append(request)
    assert all(each == sorted(each) for each in order.values())


@settings(max_examples=100, deadline=None)
@given(steps=steps, fairness=st.sampled_from(FAIRNESS))
def test_nobody_waits_while_there_is_room(steps: list[tuple[Any, ...]], fairness: Fairness) -> None:
    """Where all are of one size: the engine drains whatever fits in one go."""
    witness = Witness(configured(fairness, Fcfs()))
    for what, *given_ in steps:
        witness.step(what, *([*given_[:-1], "1"] if what == "arrive" else given_))
        for item in witness.waiting.values():
            candidates = Claim(witness.pool, item).candidates()
            assert witness.pool.saturation(candidates) >= 1


class Unknowing(Claim):
    """Says nothing of what it needs, nor of what there is: it has to be asked."""

    def room(self, turn: Turn, /) -> float:
        """Return that there may be any."""
        return math.inf

    def weigh(self) -> Weight:
        """Return its work only."""
        return Weight(self.work)


@settings(max_examples=150, deadline=None)
@given(steps=steps, fairness=st.sampled_from(FAIRNESS), ordering=st.sampled_from(ORDERING))
def test_who_need_not_be_asked_would_have_been_refused(
    steps: list[tuple[Any, ...]], fairness: Fairness, ordering: Ordering
) -> None:
    """The same happens to everybody, in the same order, as if each was asked for its place."""
    knowing, asking = (
        Witness(configured(fairness, ordering), Claim),
        Witness(configured(fairness, ordering), Unknowing),
    )
    for step in steps:
        knowing.step(*step)
        asking.step(*step)
        assert knowing.told == asking.told
    assert knowing.pool.asked <= asking.pool.asked


def backlogged(
    fairness: Fairness, costs: list[tuple[str, int]], weights: dict[str, float]
) -> dict[str, list[float]]:
    """Return the service over weight of every flow after each dispatch of one server, as long as all have something waiting."""
    pool = Pool()
    pool.slots = {"a": 1}
    engine = Engine(
        Settings(band=BandSettings(fairness=fairness, ordering=Fcfs()), request_ttl_seconds=0),
        pool.saturation,
    )
    sizes: dict[int, tuple[str, int]] = {}
    running: list[int] = []

    def note(effects: list[Effect]) -> None:
        running.extend(effect.id for effect in effects if isinstance(effect, Dispatched))

    blocker = Item(0, "blocker")
    note(engine.arrive(blocker, Claim(pool, blocker), 0.0))
    for number, (flow, cost) in enumerate(costs, 1):
        item = Item(number, flow, weight=weights[flow], prompt_tokens=cost)
        sizes[number] = flow, cost
        note(engine.arrive(item, Claim(pool, item, tokens=str(cost)), 0.0))
    service = dict.fromkeys(weights, 0.0)
    history: dict[str, list[float]] = {flow: [] for flow in weights}
    left = Counter(flow for flow, _ in costs)
    while running and all(left[flow] for flow in weights):
        request = running.pop()
        pool.taken.pop(request)
        engine.ended(request, 0.0)
        note(engine.changed(0.0))
        if running:
            flow, cost = sizes[running[-1]]
            left[flow] -= 1
            service[flow] += cost / weights[flow]
            for each, got in service.items():
                history[each].append(got)
    return history


@pytest.mark.parametrize(
    ("fairness", "quantum"),
    [
        (VirtualTokenCounter(), 0.0),
        (DeficitRoundRobin(quantum_tokens=100), 100.0),
        (Dlpm(quantum_tokens=100), 100.0),
    ],
    ids=["vtc", "drr", "dlpm"],
)
@settings(max_examples=60, deadline=None)
@given(
    costs=st.fixed_dictionaries(dict.fromkeys("xyz", st.lists(st.integers(1, 500), min_size=8, max_size=25))),
    weights=st.fixed_dictionaries(dict.fromkeys("xyz", st.sampled_from([1.0, 2.0, 5.0]))),
)
def test_backlogged_tenants_get_their_shares(
    fairness: Fairness, quantum: float, costs: dict[str, list[int]], weights: dict[str, float]
) -> None:
    """At no time do two that always have something waiting differ by more than two of the largest requests, and the quantum."""
    queued = [(flow, cost) for flow, each in costs.items() for cost in each]
    history = backlogged(fairness, queued, weights)
    assert len(history["x"]) >= 8
    largest = max(cost / weights[flow] for flow, cost in queued)
    for f in history:
        for g in history:
            assert all(
                abs(a - b) <= 2 * largest + quantum + 1e-6
                for a, b in zip(history[f], history[g], strict=True)
            )


@settings(max_examples=100, deadline=None)
@given(
    arrivals=st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 10)), min_size=2, max_size=40),
    ageing=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_shortest_work_starves_nobody_beyond_the_bound(
    arrivals: list[tuple[float, float]], ageing: float
) -> None:
    """A request is passed only by smaller ones that come within its work over the ageing, and by none once the guard steps in."""
    guard = ShortestWork(ageing=ageing, guard_seconds=20, guard_factor=1)
    pool = Pool()
    pool.slots = {"a": 1}
    engine = Engine(Settings(band=BandSettings(ordering=guard), request_ttl_seconds=0), pool.saturation)
    now, came, left = 0.0, {}, {}
    free_at, running = 0.0, -1
    pending = list(arrivals)
    while pending or running >= 0:
        next_arrival = now + pending[0][0] if pending else float("inf")
        if running >= 0 and free_at <= next_arrival:
            pending = [(max(0.0, next_arrival - free_at), pending[0][1]), *pending[1:]] if pending else []
            now = free_at
            pool.taken.pop(running)
            engine.ended(running, now)
            effects = engine.changed(now)
            running = -1
        else:
            now, (_, work) = next_arrival, pending.pop(0)
            item = Item(len(came), "x")
            came[item.id] = now, work
            effects = engine.arrive(item, Claim(pool, item, work=str(work)), now)
        for effect in effects:
            running, left[effect.id] = effect.id, now
            free_at = now + came[effect.id][1]
    for late, (arrived, work) in came.items():
        for other, (other_arrived, other_work) in came.items():
            if other_arrived > arrived and left[other] < left[late]:
                if ageing:
                    assert (
                        other_work + ageing * other_arrived <= work + ageing * arrived + 1e-6
                        or other_overdue(guard, other_arrived, other_work, left[other])
                    )
                starved = arrived + 20 + work
                assert left[other] < starved or other_arrived + 20 + other_work <= starved + 1e-6


def other_overdue(guard: ShortestWork, arrived: float, work: float, left: float) -> bool:
    """Return whether one had waited too long itself when it left."""
    return guard.starves_at(arrived, work) <= left


def test_a_tenant_keeps_its_share_beside_one_that_is_ten_times_as_greedy() -> None:
    """Eight servers, answers whose length nobody knew, and a modest tenant that offers a little less than half of the capacity."""
    number = random.Random(7)
    pool = Pool()
    pool.slots = {"a": 8}
    engine = Engine(Settings(request_ttl_seconds=0), pool.saturation)
    ends: list[tuple[float, int, float]] = []
    done: Counter[str] = Counter()
    offered: Counter[str] = Counter()
    work: dict[int, tuple[str, float]] = {}
    # A second serves a thousand output tokens: half of eight servers is 4,000 a second, in requests of 100 on average 40.
    arrivals = sorted(
        (number.uniform(0, 30), flow)
        for flow, rate in (("modest", 36), ("greedy", 360))
        for _ in range(rate * 30)
    )

    def note(effects: list[Effect], now: float) -> None:
        for effect in effects:
            assert isinstance(effect, Dispatched | Rejected)
            if isinstance(effect, Dispatched):
                heapq.heappush(ends, (now + work[effect.id][1] / 1000, effect.id, work[effect.id][1]))

    for request, (now, flow) in enumerate(arrivals):
        while ends and ends[0][0] <= now:
            ended_at, over, output = heapq.heappop(ends)
            pool.taken.pop(over)
            done[work[over][0]] += 1
            engine.ended(over, ended_at, output_tokens=output)
            note(engine.changed(ended_at), ended_at)
        work[request] = flow, number.expovariate(1 / 100)
        offered[flow] += 1
        item = Item(request, flow, prompt_tokens=10)
        note(engine.arrive(item, Claim(pool, item, work="0.1", tokens="10", output="100"), now), now)
    assert done["modest"] >= 0.95 * offered["modest"]
    assert done["greedy"] <= 0.2 * offered["greedy"]
