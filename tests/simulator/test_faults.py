"""Which fault strikes which request, and what a schedule makes of it: no server, no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from igw.cli import fields
from igw.cli.sim import OPTIONS
from igw.errors import ConfigError
from igw.simulator.faults import (
    HEALTHY,
    KINDS,
    Abort,
    Delay,
    Error,
    Failure,
    Faults,
    FaultState,
    Garbage,
    Hang,
    Metrics,
    Planned,
    Refuse,
    Restart,
    Rule,
    Slow,
    Unready,
    of_replica,
)

CHAT = "/v1/chat/completions"


def state(*rules: Rule, **short: Any) -> FaultState:
    """Return a state with these faults in force."""
    made = FaultState()
    made.set(Faults(rules=rules, **short))
    return made


def strike(faults: FaultState, model: str = "demo") -> Failure:
    """One request of the API."""
    return faults.failure(CHAT, model, api=True)


def test_without_faults_nothing_fails() -> None:
    """Nor is anything slow."""
    fine = state()
    assert strike(fine) is HEALTHY
    assert (fine.unready, fine.slow_factor, fine.metrics, fine.asks_for_models) == (False, 1.0, None, False)


def test_rules_are_written_with_their_name() -> None:
    """Every kind can be read back as it was written."""
    rules: list[Rule] = [
        Refuse(path="/"),
        Hang(point="after-first-token", model="tuned"),
        Abort(after_tokens=3, count=2),
        Delay(seconds=0.5),
        Error(status=503, share=0.25),
        Garbage(),
        Slow(factor=2),
        Unready(),
        Metrics(page="stale"),
    ]
    encoded = msgspec.json.encode(Faults(rules=tuple(rules)))
    assert msgspec.json.decode(encoded, type=Faults).rules == tuple(rules)
    assert [rule["fault"] for rule in msgspec.json.decode(encoded)["rules"]] == list(KINDS)


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "explode"},
        {"fault": "hang", "point": "sometimes"},
        {"fault": "error", "status": 200},
        {"fault": "error"},
        {"fault": "refuse", "share": 0},
        {"fault": "refuse", "share": 1.1},
        {"fault": "abort", "count": 0},
        {"fault": "slow", "factor": 0},
        {"fault": "slow", "factor": 2, "share": 0.5},
    ],
)
def test_a_rule_that_makes_no_sense_cannot_be_read(rule: dict[str, Any]) -> None:
    """Unknown names, values out of range, a share of what is not about requests."""
    with pytest.raises(msgspec.ValidationError, match=r"\$\.rules\[0\]"):
        msgspec.convert({"rules": [rule]}, Faults)


@given(st.integers(1, 200), st.floats(0.01, 1))
def test_a_share_is_spread_evenly(requests: int, share: float) -> None:
    """After n requests floor(n * share) were struck, for every n."""
    rule = state(Refuse(share=share))
    struck = 0
    for number in range(1, requests + 1):
        struck += strike(rule).refuse
        assert struck == int(number * share + 1e-9)


def test_a_count_strikes_the_next_ones_only() -> None:
    """And the rule is gone from what is in force then."""
    rule = state(Garbage(count=2), Slow(factor=3))
    assert [strike(rule).garbage for _ in range(2)] == [True, True]
    assert rule.faults == Faults(rules=(Slow(factor=3),))
    assert not strike(rule).garbage


def test_what_remains_of_a_count_is_told() -> None:
    """After one of three."""
    rule = state(Abort(count=3))
    strike(rule)
    assert rule.faults.rules == (Abort(count=2),)


def test_the_short_form_stands_for_rules() -> None:
    """With `once` the abort ends, and the delay goes on."""
    short = state(abort_after_tokens=2, once=True, delay_seconds=0.1)
    assert strike(short) == Failure(abort_after_tokens=2, delay_seconds=0.1)
    assert strike(short) == Failure(delay_seconds=0.1)
    assert short.faults == Faults(delay_seconds=0.1)
    assert state(unready=True).unready


def test_a_rule_of_one_model_leaves_the_others_alone() -> None:
    """They are not counted either."""
    rule = state(Refuse(model="tuned", share=0.5))
    assert rule.asks_for_models
    assert [strike(rule, model).refuse for model in ("tuned", "demo", "demo", "tuned")] == [
        False,
        False,
        False,
        True,
    ]


def test_a_path_reaches_beyond_the_api() -> None:
    """Without one only requests of the API are struck."""
    health = state(Hang(path="/health"))
    assert health.failure("/health", None, api=False).hang == "before-first-token"
    assert strike(health) is HEALTHY
    assert state(Refuse()).failure("/health", None, api=False) is HEALTHY
    assert state(Refuse(path="/")).failure("/metrics", None, api=False).refuse


def test_rules_that_strike_together_are_put_together() -> None:
    """Delays add up, the earliest abort wins, slow ones multiply."""
    both = state(
        Delay(seconds=1),
        Delay(seconds=2),
        Abort(after_tokens=5),
        Abort(after_tokens=3),
        Slow(factor=2),
        Slow(factor=3),
    )
    assert strike(both) == Failure(delay_seconds=3, abort_after_tokens=3)
    assert both.slow_factor == 6


@pytest.mark.parametrize(
    "planned",
    [
        {"faults": {}},
        {"at_seconds": 1},
        {"at_seconds": 1, "at_request": 1, "faults": {}},
        {"at_seconds": 1, "faults": {}, "restart": {}},
        {"at_request": 0, "faults": {}},
        {"at_seconds": -1, "faults": {}},
    ],
)
def test_a_plan_says_when_and_what(planned: dict[str, Any]) -> None:
    """Exactly one of each."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(planned, Planned)


def test_a_schedule_happens_at_its_times() -> None:
    """Twice as fast, from the moment it was set, in the order of time."""
    plan = [Planned(at_seconds=20, faults=Faults()), Planned(at_seconds=10, faults=Faults(unready=True))]
    faults = FaultState(plan, now=100, speed=2)
    seen = []
    for now in (104.9, 105, 109.9, 110):
        assert faults.advance(now) is None
        seen.append((faults.unready, faults.due_at()))
    assert seen == [(False, 105), (True, 110), (True, 110), (False, None)]


def test_a_schedule_happens_at_its_requests() -> None:
    """Before the request that it names is judged."""
    faults = FaultState([Planned(at_request=2, faults=Faults(rules=(Refuse(count=1),)))])
    struck = []
    for _ in range(3):
        assert faults.arrive() is None
        struck.append(strike(faults).refuse)
    assert struck == [False, True, False]
    assert faults.schedule == []


def test_a_restart_ends_the_faults_and_lets_the_schedule_go_on() -> None:
    """What was due together with it, and after it, comes with the next call."""
    restart = Restart(loading_seconds=5)
    plan = [
        Planned(at_seconds=1, faults=Faults(unready=True)),
        Planned(at_seconds=2, restart=restart),
        Planned(at_seconds=2, faults=Faults(delay_seconds=1)),
    ]
    faults = FaultState(plan)
    assert faults.advance(3) == restart
    assert faults.faults == Faults()
    assert faults.schedule == plan[2:]
    assert faults.advance(3) is None
    assert faults.faults == Faults(delay_seconds=1)


def test_a_new_schedule_replaces_the_old_one_and_counts_from_there() -> None:
    """Seconds and requests."""
    faults = FaultState([Planned(at_request=2, faults=Faults(unready=True))])
    faults.arrive()
    faults.plan(
        [Planned(at_request=2, faults=Faults(delay_seconds=1)), Planned(at_seconds=1, faults=Faults())],
        now=50,
    )
    assert faults.due_at() == 51
    faults.arrive()
    assert faults.faults == Faults()
    faults.arrive()
    assert faults.faults == Faults(delay_seconds=1)


def test_a_plan_for_one_replica_is_for_no_other() -> None:
    """One without a number is for all."""
    first, every = Planned(at_seconds=1, faults=Faults(), replica=0), Planned(at_seconds=2, faults=Faults())
    assert of_replica([first, every], 0) == (first, every)
    assert of_replica([first, every], 1) == (every,)


def test_faults_and_plans_are_read_as_documented() -> None:
    """The examples of the page, and every kind of fault in its table."""
    section = (
        (Path(__file__).parents[2] / "docs" / "simulator.md")
        .read_text(encoding="utf-8")
        .split("\n## Faults\n")[1]
    )
    posted = section.split("-d '")[1].split("'\n```")[0]
    assert len(msgspec.json.decode(posted, type=Faults).rules) == 3
    plan = yaml.safe_load(section.split("```yaml\n")[1].split("```")[0])
    assert [each.replica for each in msgspec.convert(plan, list[Planned])] == [0, 0, None]
    table = section.split("| fault |")[1].split("\n\n")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(KINDS)


def test_a_plan_may_be_a_file_on_the_command_line(tmp_path: Path) -> None:
    """Or JSON; what is neither is an error."""
    (tmp_path / "plan.yaml").write_text("- {at_seconds: 1, restart: {}}")
    for text in (str(tmp_path / "plan.yaml"), '[{"at_seconds": 1, "restart": {}}]'):
        values = fields.given(OPTIONS, {"faults": [text]})
        assert msgspec.convert(values["faults"], list[Planned]) == [Planned(at_seconds=1, restart=Restart())]
    with pytest.raises(ConfigError, match="--faults: 'none' is neither JSON nor a file"):
        fields.given(OPTIONS, {"faults": ["none"]})
