"""Every policy of the table, whatever it knows: valid picks for any facts, nothing kept after the end, whole runs."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igw.config.manifests import load
from igw.lab import catalogue
from igw.lab.policies.prefills import Prefills
from igw.lab.policies.table import CLAIRVOYANT, POLICIES
from igw.lab.records import Fate, Run
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.lab.workload import Session, Turn, Workload
from igw.scheduling import configured
from igw.scheduling.scheduler import Scheduler
from igw.simulator.manifest import Hardware, SimulatorSpec
from tests.lab.policies.candidates import DONE, decision, endpoints, facts, request, setting
from tests.lab.policies.truths import Known, State

EXAMPLES = Path(__file__).parents[3] / "examples/policies"

TOKENS = st.integers(1, 5000)
LISTS = st.lists(st.tuples(TOKENS, TOKENS), max_size=3)
STATES = st.builds(
    State,
    uncached=TOKENS,
    backlog=st.lists(st.tuples(TOKENS, TOKENS, TOKENS), max_size=3),
    decoding=LISTS,
    free=st.integers(0, 10_000),
    left=st.floats(0, 1),
)


@given(data=st.data(), name=st.sampled_from(sorted(POLICIES)))
@settings(max_examples=300, deadline=None)
def test_every_pick_names_different_candidates_best_first(data: st.DataObject, name: str) -> None:
    """One or two, with finite scores for all, the first of which has the largest sum; over picks of which some have ended."""
    policy: Any = POLICIES[name](
        setting(truth=Known(data.draw(st.lists(STATES, min_size=5, max_size=5)), output=50))
    )
    everyone = endpoints(5)
    under_way = []
    for number in range(data.draw(st.integers(1, 6))):
        at = tuple(data.draw(st.lists(st.sampled_from(everyone), min_size=1, max_size=5, unique_by=id)))
        blocks = data.draw(st.sampled_from([(), (1, 2), (1, 2, 3, 4, 5), (7, 8, 9, 10, 11, 12)]))
        per_candidate = {"min_size": len(at), "max_size": len(at)}
        known = facts(
            data.draw(st.lists(st.integers(0, 60), **per_candidate)),
            matched=data.draw(
                st.lists(st.integers(0, len(blocks)), **per_candidate).map(lambda m: [64 * d for d in m])
            ),
            blocks=blocks,
            kv_usage=data.draw(st.lists(st.floats(0, 1), **per_candidate)),
            at=at,
        )
        asked = request(
            64 * len(blocks) + data.draw(TOKENS), {"x-session-id": data.draw(st.sampled_from(["", "a", "b"]))}
        )
        choice = policy.pick(asked, known)
        assert len(choice.picked) == min(2, len(at))
        assert len(set(choice.picked)) == len(choice.picked)
        assert set(choice.picked) <= set(range(len(at)))
        totals = [
            sum(scores)
            for scores in zip(*(column.tolist() for column in choice.scores.values()), strict=True)
        ]
        assert len(totals) == len(at)
        assert all(map(math.isfinite, totals))
        assert totals[choice.picked[0]] == max(totals)
        picked = decision(
            number, asked, at[choice.picked[0]], int(known.matched_tokens[choice.picked[0]]), blocks
        )
        _tell(policy, "decided", picked)
        under_way.append(picked)
        if data.draw(st.booleans()):
            _tell(policy, "first_token", picked)
            _tell(policy, "ended", under_way.pop(), DONE)
    for picked in under_way:
        _tell(policy, "ended", picked, DONE)
    for kept in vars(policy).values():
        if isinstance(kept, Prefills):
            assert not kept._open
            assert not kept._tokens


def _tell(policy: Any, hook: str, *arguments: Any) -> None:
    getattr(policy, hook, lambda *_: None)(*arguments)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_a_configuration_that_the_product_loads(path: Path) -> None:
    """And it can be asked for by its name."""
    document = load([path]).picker_config
    assert document is not None
    assert isinstance(configured.scheduler(document), Scheduler)
    assert path.stem in catalogue.names()


def shared_prefixes(rate: float) -> Workload:
    """Return 240 requests: 24 groups of a 4,096-token prefix, 256 tokens of their own, 60 tokens of output."""
    dice = random.Random(1)
    sessions = tuple(
        Session(
            id=f"s{number}",
            start_seconds=number / rate,
            turns=(Turn(4352, 60, runs=((dice.randrange(24) * 100, 16), (10_000 + number * 10, 2))),),
        )
        for number in range(240)
    )
    return Workload("shared prefixes", 256, sessions)


SMALL = Scenario(
    name="small",
    workload=shared_prefixes(8.0),
    servers=(
        SimulatorSpec(model="m", replicas=4, hardware=Hardware(calibration="qwen3-32b", tensor_parallel=2)),
    ),
)


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """One run of every policy, those of the examples included."""
    return {name: run(SMALL, name, seed=1) for name in catalogue.names()}


@pytest.mark.parametrize("name", catalogue.names())
def test_every_policy_has_every_request_answered(runs: dict[str, Run], name: str) -> None:
    """Nothing is lost, rejected or forgotten, and every server's name is a server's."""
    records = runs[name].records
    assert len(records) == 240
    assert {record.fate for record in records} == {Fate.COMPLETE}
    assert sum(server.requests for server in runs[name].servers) == 240


def test_policies_that_know_of_prefixes_hit_more(runs: dict[str, Run]) -> None:
    """Round robin finds each of 24 prefixes cold on each of 4 servers; who remembers, on about one."""
    hit = {
        name: sum(record.cached_tokens for record in one.records)
        / sum(record.prompt_tokens for record in one.records)
        for name, one in runs.items()
    }
    aware = (
        "affinity-token-load",
        "lmetric",
        "sglang-cache-aware",
        "dynamo-linear",
        "consistent-hashing",
        *CLAIRVOYANT,
    )
    for name in (*aware, "estimated", "default"):
        assert hit[name] > hit["round-robin"] + 0.05, (name, hit)
    for name in ("random", "power-of-two", "least-requests", "smg-least-load", "queue-kv", "session"):
        assert hit[name] < hit["round-robin"] + 0.05, (name, hit)


def test_the_bound_is_at_least_as_good_as_anybody(runs: dict[str, Run]) -> None:
    """Mean first token of the best clairvoyant one against every policy that could exist."""
    mean = {name: sum(record.ttft_seconds for record in one.records) for name, one in runs.items()}
    bound = min(mean[name] for name in CLAIRVOYANT)
    assert all(bound <= 1.02 * value for value in mean.values()), mean


def test_the_same_seed_gives_the_same_run() -> None:
    """Ties are drawn from the run's own dice."""
    assert run(SMALL, "power-of-two", 3) == run(SMALL, "power-of-two", 3)
    assert run(SMALL, "power-of-two", 3) != run(SMALL, "power-of-two", 4)
