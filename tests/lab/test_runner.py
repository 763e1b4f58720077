"""One run as a function of scenario, policy and seed."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from igw.lab.policies.random_choice import RandomChoice
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.lab.workload import Session, Turn
from tests.lab.small import SMALL, singles, workload

ASKED = singles(*[(n * 0.1, 400, 60) for n in range(80)])
SCENARIO = Scenario(name="small", workload=ASKED, servers=(SMALL,))


@pytest.mark.parametrize("policy", ["default", "round-robin", "power-of-two"])
def test_the_same_seed_gives_the_same_bytes(policy: str) -> None:
    """Whatever was drawn before, and another seed gives others."""
    random.random()
    first = msgspec.json.encode(run(SCENARIO, policy, 1))
    random.random()
    assert msgspec.json.encode(run(SCENARIO, policy, 1)) == first
    assert msgspec.json.encode(run(SCENARIO, policy, 2)) != first


def test_nobody_elses_draws_are_touched() -> None:
    """The product's own draws are seeded for the run only."""
    random.seed(5)
    np.random.seed(5)
    before, before_numpy = random.getstate(), np.random.get_state()[1]
    run(SCENARIO, "default", 1)
    assert random.getstate() == before
    assert np.array_equal(np.random.get_state()[1], before_numpy)


def test_a_run_adds_up() -> None:
    """Records, servers and samples tell of the same requests."""
    made = run(SCENARIO, "default", 1)
    assert len(made.records) == len(ASKED.sessions)
    assert not made.partial
    assert [server.name for server in made.servers] == ["server-0", "server-1"]
    assert sum(server.requests for server in made.servers) == 80
    assert sum(server.output_tokens for server in made.servers) == 80 * 60
    computed = sum(record.prompt_tokens - record.cached_tokens for record in made.records)
    assert sum(server.computed_tokens for server in made.servers) == computed
    assert made.steps > 60
    assert [sample.at for sample in made.samples] == [5.0 * n for n in range(len(made.samples))]
    assert made.virtual_seconds - 5.0 < made.samples[-1].at <= made.virtual_seconds
    assert all(0 < server.busy_seconds < made.virtual_seconds for server in made.servers)
    arrived = [record.arrived for record in made.records]
    assert arrived == sorted(arrived)


def test_the_warmup_is_marked() -> None:
    """By time and by share of the requests, whichever is longer."""
    by_share = run(msgspec.structs.replace(SCENARIO, warmup_share=0.25), "default", 1)
    assert [record.warmup for record in by_share.records] == [True] * 20 + [False] * 60
    by_time = run(msgspec.structs.replace(SCENARIO, warmup_share=0.25, warmup_seconds=6.0), "default", 1)
    assert [record.warmup for record in by_time.records] == [
        record.arrived < 6.0 for record in by_time.records
    ]
    assert sum(record.warmup for record in by_time.records) > 55


def test_a_policy_may_be_a_factory() -> None:
    """A researcher's class needs no name in a table."""
    made = run(SCENARIO, RandomChoice, 1)
    assert made.policy == "RandomChoice"
    assert len({record.server for record in made.records}) == 2


def test_progress_is_told_and_may_end_the_run() -> None:
    """A run that was stopped is marked as partial and keeps what there is."""
    heard: list[float] = []

    def look(share: float) -> bool:
        heard.append(share)
        return len(heard) < 2

    long = msgspec.structs.replace(SCENARIO, workload=singles(*[(n * 0.2, 400, 600) for n in range(400)]))
    made = run(long, "default", 1, look)
    assert made.partial
    assert heard == sorted(heard)
    assert 0 < heard[-1] < 1
    assert len(made.records) < 400


def test_closed_loops_share_their_own_history() -> None:
    """A session whose turns extend each other finds its prefix cached, the answers included."""
    turns = tuple(Turn(512 * n, 64, ((0, 8 * n + 1),), 0.1) for n in range(1, 5))
    scenario = msgspec.structs.replace(SCENARIO, workload=workload(Session("s", turns)))
    records = run(scenario, "default", 1).records
    # What a prompt shares with the one before ends with that one's text: 512 n + 64 tokens.
    assert [record.cached_tokens for record in records] == [0, 560, 1072, 1584]


def test_a_workload_without_requests_is_an_empty_run() -> None:
    """Not an error: a trace may be cut to nothing."""
    made = run(msgspec.structs.replace(SCENARIO, workload=workload()), "default", 1)
    assert made.records == ()
    assert not made.partial
