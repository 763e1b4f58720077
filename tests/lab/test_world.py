"""Whole runs: laws that hold for all of them, and the things that happen on the way."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.facts import Facts
from igw.flow.settings import Settings
from igw.lab.policies.api import Holding, Setting
from igw.lab.policies.round_robin import RoundRobin
from igw.lab.records import Fate
from igw.lab.scenario import Add, Event, Lose, Restore, Slow
from igw.lab.workload import Session, Turn
from igw.lab.world import World
from igw.scheduling import builtin
from igw.scheduling.scheduler import Scheduler
from igw.simulator.hardware.calibration import FRONTEND_SECONDS
from igw.simulator.manifest import Hardware
from tests.lab.small import SMALL, Kept, Recording, config, singles, spec, turn, workload, world


def default(_setting: Setting) -> Scheduler:
    return builtin.default()


def holding(_setting: Setting) -> Holding:
    return Holding(builtin.default(), Settings())


class Shortest(Recording):
    """Least requests in flight, the first of equals."""

    def order(self, facts: Facts) -> list[int]:
        return [int(facts.inflight.argmin())]


def settled(ended: World) -> None:
    """Check that nothing is left anywhere once everybody has been answered."""
    for picker in ended.pickers:
        assert picker.ledger.statistics().open == 0
        assert not picker.columns.inflight.any()
        assert not picker.columns.inflight_tokens.any()
    for server in ended.servers:
        now = server.statistics()
        assert (now.running, now.waiting, len(server.arriving)) == (0, 0, 0)
        assert server.engine.blocks.free == server.engine.blocks.count
    assert not ended.gateway._open
    assert not ended.truths._asked
    assert not ended.truths._cached


SIZES = st.tuples(st.integers(1, 1500), st.integers(1, 300))
TIMES = st.floats(0, 12)


@st.composite
def turns(draw: st.DrawFn, depth: int = 1) -> Turn:
    prompt, output = draw(SIZES)
    shared = min(draw(st.integers(0, 8)), (prompt + output) // 64)
    made = turn(prompt, output, shared=(0, shared), think=draw(st.sampled_from([0.0, 0.5])))
    return msgspec.structs.replace(made, spawns=tuple(draw(sessions(0))) if depth else ())


def sessions(depth: int) -> st.SearchStrategy[list[Session]]:
    each = st.builds(
        Session, st.text("ab", min_size=1, max_size=2), st.lists(turns(depth), max_size=3).map(tuple), TIMES
    )
    return st.lists(each, max_size=12 if depth else 1)


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Lose, st.integers(0, 1), TIMES),
    st.builds(Restore, st.integers(0, 1), TIMES),
    st.builds(Add, st.just(SMALL), TIMES),
    st.builds(Slow, st.integers(0, 1), st.sampled_from([0.2, 3.0]), TIMES, TIMES),
)


@settings(max_examples=60, deadline=None)
@given(
    sessions(1),
    st.lists(EVENTS, max_size=5),
    st.integers(1, 3),
    st.sampled_from(["lean", "full"]),
    st.sampled_from([default, holding, RoundRobin]),
)
def test_every_request_ends_once_whatever_happens(
    asked: list[Session], events: list[Event], pickers: int, signals: str, policy: object
) -> None:
    """Under lost, added and slow servers that are too small as well: nothing is left and nothing is counted twice."""
    running = world(workload(*asked), SMALL, policy, events, pickers=pickers, signals=signals)  # type: ignore[arg-type]
    assert running.run()
    settled(running)
    records = running.records()
    assert len(records) == running.gateway.sent
    expected = sum(1 for _ in workload(*asked).turns())
    assert running.clients.turns_over == expected
    fates = Counter(record.fate for record in records)
    assert fates[Fate.UNFINISHED] == 0
    if not events:
        assert fates == ({Fate.COMPLETE: expected} if expected else {})
    served = sum(server.total().output_tokens for server in running.servers)
    given_out = sum(record.output_tokens for record in records)
    assert served == given_out if not fates[Fate.LOST] else served >= given_out
    for record in records:
        if record.fate is Fate.COMPLETE:
            assert FRONTEND_SECONDS <= record.queued_seconds < record.ttft_seconds <= record.e2e_seconds


def test_littles_law() -> None:
    """Requests in the servers on average = arrivals per second x time in the servers; the two sides are measured apart."""
    dice = random.Random(1)
    arrivals, at = [], 0.0
    for _ in range(300):
        at += dice.expovariate(8.0)
        arrivals.append((at, dice.randrange(50, 3000), dice.randrange(1, 300)))
    running = world(singles(*arrivals), spec(2), RoundRobin, sample_seconds=0.01)
    assert running.run()
    records = running.records()
    span = running.clock.now
    inside = [sum(sample.running) + sum(sample.waiting) for sample in running.samples]
    waited = sum(record.e2e_seconds - FRONTEND_SECONDS for record in records)
    assert sum(inside) / len(inside) == pytest.approx(waited / span, rel=0.01)
    settled(running)


def test_the_index_finds_what_the_servers_hold() -> None:
    """Prompts with a shared prefix go where it is, and the server finds it in its cache."""
    groups = [(n * 100, 32) for n in range(4)]  # 2,048 tokens each
    dice = random.Random(1)
    asked = [
        Session(f"s{n}", (turn(2048 + 200, 10, shared=dice.choice(groups)),), 0.3 * n) for n in range(60)
    ]
    kept: dict[str, float] = {}
    for name, policy in (("default", default), ("round-robin", RoundRobin)):
        running = world(workload(*asked), spec(4), policy)
        assert running.run()
        records = running.records()
        kept[name] = sum(record.cached_tokens for record in records) / sum(r.prompt_tokens for r in records)
    assert kept["default"] > 0.8
    assert kept["default"] > kept["round-robin"] + 0.1


def test_two_pickers_know_nothing_of_each_other() -> None:
    """Both send their first request to the same server, because neither sees what the other promised."""
    kept = Kept(Shortest)
    running = world(singles(*[(0.5, 500, 50)] * 4), spec(2), kept, pickers=2)
    assert running.run()
    assert [facts.inflight.tolist() for _, facts in kept.built[0].shown] == [[0, 0], [1, 0]]
    assert [facts.inflight.tolist() for _, facts in kept.built[1].shown] == [[0, 0], [1, 0]]
    assert [record.server for record in running.records()] == [0, 0, 1, 1]
    settled(running)


def test_an_added_server_is_used_from_then_on() -> None:
    """Every picker has it in its pool, and scrapes it; it has the fewest requests until the last has arrived."""
    kept = Kept(Shortest)
    arrivals = [(n * 0.1, 500, 1000) for n in range(40)]
    running = world(singles(*arrivals), spec(), kept, events=(Add(spec(), 2.0),))
    assert running.run()
    records = running.records()
    assert {record.server for record in records if record.arrived < 2.0} == {0}
    assert {record.server for record in records if record.arrived > 2.0} == {1}
    assert [len(sample.running) for sample in running.samples[:2]] == [1, 2]
    assert running.pickers[0].columns.reported.all()
    settled(running)


def test_a_server_that_slows_down_takes_longer_while_it_does() -> None:
    """And is as before afterwards."""
    arrivals = [(1.0, 1000, 50), (11.0, 1000, 50), (31.0, 1000, 50)]
    running = world(singles(*arrivals), spec(), events=(Slow(0, 0.25, 10.0, 30.0),))
    assert running.run()
    before, slowed, after = (record.e2e_seconds - FRONTEND_SECONDS for record in running.records())
    assert slowed == pytest.approx(4 * before)
    assert after == pytest.approx(before)


def test_servers_may_have_different_accelerators() -> None:
    """Each takes its own step times and its own memory."""
    mixed = [spec(), spec(hardware=Hardware(accelerator="L4"))]
    running = world(singles((1.0, 1000, 20), (1.0, 1000, 20)), mixed, RoundRobin)
    assert running.run()
    for record, each in zip(running.records(), mixed, strict=True):
        price = config(each).step_time.seconds
        assert record.ttft_seconds == pytest.approx(FRONTEND_SECONDS + price([(1000, 0)], 0, 0, 1))
    fast, slow = running.records()
    assert slow.e2e_seconds > 4 * fast.e2e_seconds
    assert config(mixed[0]).num_gpu_blocks > config(mixed[1]).num_gpu_blocks


def test_a_reservation_whose_end_nobody_tells_expires() -> None:
    """As in the product, after half an hour; here the answer takes longer than that."""
    running = world(singles((1.0, 100, 4000)), spec(speed=0.001, num_gpu_blocks=1000))
    while running.clock.advance(1790.0):
        pass
    assert running.pickers[0].ledger.statistics().open == 1
    assert running.run()
    assert running.pickers[0].ledger.statistics().expired == 1
    settled(running)


def test_a_look_may_stop_the_run() -> None:
    """What is under way then is unfinished."""
    running = world(singles(*[(n * 0.01, 500, 2000) for n in range(200)]), SMALL)
    shares: list[int] = []

    def look(over: int) -> bool:
        shares.append(over)
        return len(shares) < 3

    assert not running.run(look)
    assert len(shares) == 3
    fates = Counter(record.fate for record in running.records())
    assert fates[Fate.UNFINISHED] > 0
    assert fates[Fate.COMPLETE] == running.clients.turns_over == shares[-1]
