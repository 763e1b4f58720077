"""Flow control in virtual time: who waits at a picker, for how long, and who goes first."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from igw.flow.settings import Settings
from igw.lab import catalogue
from igw.lab.policies.api import Factory, Holding, Policy, Setting
from igw.lab.records import Fate, Record
from igw.lab.runner import run
from igw.lab.scenario import Add, Scenario
from igw.lab.workload import Session
from igw.scheduling import builtin
from tests.lab.small import SMALL, Kept, singles, spec, turn, workload, world

BURST = singles(*[(0.5, 1500, 200)] * 40)
"""More than two small servers can begin with: each has memory for two."""
GATE = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
- type: queue-scorer
- {type: max-score-picker}
- {type: concurrency-detector, parameters: {maxConcurrency: 2}}
flowControl:
  saturationDetector: {pluginRef: concurrency-detector}
"""


def holding(**fields: float) -> Factory:
    """Return the default policy with other settings of flow control."""

    def build(_setting: Setting) -> Policy | Holding:
        return Holding(builtin.default(), Settings(**fields))  # type: ignore[arg-type]

    return build


def poisson(tenant: str, per_second: float, until: float, prompt: int, priority: int = 0) -> list[Session]:
    dice, at, made = random.Random(tenant), 0.0, list[Session]()
    while (at := at + dice.expovariate(per_second)) < until:
        name = f"{tenant}-{len(made)}"
        made.append(Session(name, (turn(prompt, 50),), at, tenant=tenant, priority=priority))
    return made


def beside(*tenants: list[Session]) -> list[Session]:
    return sorted((each for tenant in tenants for each in tenant), key=lambda session: session.start_seconds)


@pytest.mark.parametrize("signals", ["lean", "full"])
def test_who_finds_no_room_waits_at_the_picker_and_not_at_a_server(signals: str) -> None:
    """All are answered; the time is counted where it was spent, and is part of the time to first token."""
    held = world(BURST, SMALL, catalogue.find("default"), signals=signals)
    sent = world(BURST, SMALL, catalogue.find("default-no-hold"), signals=signals)
    assert held.run()
    assert sent.run()
    for running in (held, sent):
        assert Counter(record.fate for record in running.records()) == {Fate.COMPLETE: 40}
    waited = [record for record in held.records() if record.held_seconds > 0]
    assert len(waited) > 20
    assert all(record.held_seconds < record.ttft_seconds for record in waited)
    assert not any(record.held_seconds for record in sent.records())

    def queued(records: list[Record]) -> float:
        return max(record.queued_seconds for record in records)

    assert queued(held.records()) < queued(sent.records()) / 2


def test_with_room_for_everybody_nothing_changes() -> None:
    """An idle pool decides as if there were no flow control."""
    calm = singles(*[(3.0 * n, 500, 20) for n in range(10)])
    made = [
        run(Scenario(name="s", workload=calm, servers=(SMALL,)), name, 1)
        for name in ("default", "default-no-hold")
    ]
    assert made[0].records == made[1].records


def test_who_has_waited_too_long_is_rejected_at_that_moment() -> None:
    """Neither earlier nor at the next event."""
    running = world(BURST, SMALL, holding(request_ttl_seconds=1.25), retries=0)
    assert running.run()
    late = [record for record in running.records() if record.fate is Fate.REJECTED]
    assert late
    assert {(record.held_seconds, record.e2e_seconds, record.server) for record in late} == {(1.25, 1.25, -1)}
    assert len(running.gateway.records) == 40


def test_patient_clients_are_never_turned_away() -> None:
    """However long it takes: for comparisons in which nobody's wait is left out."""
    long = singles(*[(0.5, 1500, 4000)] * 20)
    running = world(long, spec(2, num_gpu_blocks=512), catalogue.find("default-patient"))
    assert running.run()
    assert {record.fate for record in running.records()} == {Fate.COMPLETE}
    assert max(record.held_seconds for record in running.records()) > 60.0


def test_who_still_waits_when_a_run_is_cut_off_is_unfinished() -> None:
    """With the time it has waited."""
    running = world(BURST, SMALL, catalogue.find("default"), limit_seconds=1.5)
    assert running.run()
    waiting = [record for record in running.records() if record.server < 0]
    assert waiting
    assert {(record.fate, record.held_seconds) for record in waiting} == {
        (Fate.UNFINISHED, running.clock.now - 0.5)
    }
    assert len(running.records()) == 40


def test_a_new_server_takes_those_who_wait() -> None:
    """They leave when it has joined, not when somebody else ends."""
    running = world(BURST, SMALL, catalogue.find("default"), [Add(SMALL, 1.0)])
    assert running.run()
    dispatched = {record.arrived + record.held_seconds for record in running.records() if record.server >= 2}
    assert min(dispatched) == 1.0


def test_the_wait_is_no_fault_of_the_server() -> None:
    """What is learned of its speed is the same as if nobody had waited."""
    rates = []
    for name in ("default-patient", "default-no-hold"):
        running = world(BURST, spec(1, num_gpu_blocks=256), catalogue.find(name))
        assert running.run()
        rates.append(running.pickers[0].promises.model.rates)
    assert rates[0].per_token < 2 * rates[1].per_token


def test_ten_times_the_requests_are_not_ten_times_the_work() -> None:
    """A greedy tenant beside a modest one that wants its half: shares of work are even to 5 %."""
    span = 40.0
    asked = beside(poisson("greedy", 40.0, span, 8000), poisson("modest", 4.0, span, 16_000))
    running = world(workload(*asked), spec(2), catalogue.find("default"), retries=0, limit_seconds=span)
    assert running.run()
    work: Counter[str] = Counter()
    for record in running.records():
        if record.server >= 0 and record.arrived + record.held_seconds > 10.0:
            work[record.tenant] += record.prompt_tokens + 2 * 50
    assert work["modest"] / work.total() == pytest.approx(0.5, rel=0.05)


def test_what_matters_more_goes_first() -> None:
    """Twice what the pool takes of sheddable requests hardly delays the others, which without flow control wait as long as they."""
    span = 20.0
    important = poisson("important", 1.0, span, 8000, priority=1)
    sheddable = poisson("sheddable", 20.0, span, 8000, priority=-1)
    ttft: dict[str, float] = {}
    for name in ("default", "default-no-hold"):
        running = world(workload(*beside(important, sheddable)), spec(2), catalogue.find(name))
        assert running.run()
        times = [record.ttft_seconds for record in running.records() if record.tenant == "important"]
        ttft[name] = sum(times) / len(times)
    assert ttft["default"] < 1.0
    assert ttft["default"] < ttft["default-no-hold"] / 5


def test_a_file_says_whether_requests_wait(tmp_path: Path) -> None:
    """With upstream's gate they do, as its detector says; without it, a file that does not price work has none wait."""
    gate, plain = tmp_path / "gate.yaml", tmp_path / "plain.yaml"
    gate.write_text(GATE)
    plain.write_text(GATE.replace("featureGates: [flowControl]\n", ""))
    scenario = Scenario(name="s", workload=BURST, servers=(SMALL,))
    held = run(scenario, str(gate), 1)
    assert sum(record.held_seconds > 0 for record in held.records) >= 30
    assert max(max(sample.running) + max(sample.waiting) for sample in held.samples) <= 2
    assert not any(record.held_seconds for record in run(scenario, str(plain), 1).records)


def test_a_policy_of_ones_own_may_have_requests_wait_too() -> None:
    """It sees each when it is its turn, and the end says how long it waited."""
    kept = Kept()
    detector = msgspec.convert({"maxConcurrency": 1}, builtin.FILTERS["concurrency-detector"])

    def build(setting: Setting) -> Holding:
        return Holding(kept(setting), Settings(), detector)

    running = world(singles((0.5, 500, 50), (0.6, 500, 50), (0.7, 500, 50)), spec(1), build)
    assert running.run()
    records = running.records()
    ends = [decision.waited_seconds for what, decision, _ in kept.built[0].told if what == "ended"]
    assert ends == pytest.approx([record.held_seconds for record in records])
    assert ends[0] == 0.0
    assert ends[2] > ends[1] > 0.0
