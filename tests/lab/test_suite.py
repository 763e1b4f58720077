"""The named suites: what is in them, and that they can be run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

import igw
from igw.errors import ConfigError
from igw.lab import shaping
from igw.lab.capacity import needed
from igw.lab.offered import native_rate
from igw.lab.runner import run
from igw.lab.scenario import Add, Lose, Restore, Scenario, Slow
from igw.lab.suite import CAPACITY, SUITES, USERS_SECONDS, Plan, suite

POLICY, STRESS = SUITES["policy"], SUITES["stress"]


def plan(name: str) -> Plan:
    """Return the plan of that name in either suite."""
    return next(each for each in (*POLICY, *STRESS) if each.name == name)


def test_the_policy_suite_has_its_22_scenarios() -> None:
    """By source, and four of them on mixed pools."""
    assert len(POLICY) == 22
    even = Counter(each.source.name for each in POLICY if each.pool == "even")
    assert even == {
        "conversation": 4,
        "claude-code": 3,
        "azure-conv": 3,
        "azure-code": 2,
        "deepseek-r1": 2,
        "m-small": 1,
        "ladder": 3,
    }
    assert Counter(each.pool for each in POLICY)["mixed"] == 4


def test_names_are_unique() -> None:
    """In all suites together."""
    names = Counter(each.name for each in (*POLICY, *STRESS))
    assert set(names.values()) == {1}


def test_there_is_a_capacity_for_every_load() -> None:
    """And none that nothing needs."""
    assert {(each.source.name, each.pool) for each in needed()} == set(CAPACITY)
    for (source, pool), rate in CAPACITY.items():
        assert rate <= CAPACITY[source, "even"]
        assert pool == "even" or rate < CAPACITY[source, "even"]


@pytest.mark.parametrize("name", ["conversation-80", "mixed-conversation-80", "azure-code-50"])
def test_a_load_is_a_share_of_the_pools_capacity(name: str) -> None:
    """In requests per second."""
    each = plan(name)
    scenario = each.scenario(seed=0)
    assert native_rate(scenario.workload) == pytest.approx(each.load * CAPACITY[each.source.name, each.pool])
    assert scenario.warmup_share == 0.1
    assert scenario.workload.name == scenario.name == name


def test_the_ladder_runs_at_the_rates_in_its_names() -> None:
    """In requests per second."""
    rates = {n: native_rate(plan(f"ladder-{n}").scenario(seed=0).workload) for n in (20, 40, 60)}
    assert rates == {n: pytest.approx(n, rel=0.06) for n in rates}


def test_a_closed_loop_ends_by_the_clock() -> None:
    """Its users would go on for hours."""
    scenario = plan("claude-code-16-users").scenario(seed=0)
    assert len(scenario.workload.sessions) == 16
    assert (scenario.limit_seconds, scenario.warmup_seconds) == (USERS_SECONDS, USERS_SECONDS / 10)
    other = plan("claude-code-16-users").scenario(seed=1)
    assert other.workload != scenario.workload


def test_the_ramp_reaches_half_more_than_the_capacity() -> None:
    """From half of it."""
    work = plan("conversation-ramp-150").scenario(seed=0).workload
    length = work.sessions[-1].start_seconds
    capacity = CAPACITY["conversation", "even"]
    tail = [each for each in work.sessions if each.start_seconds > length * 0.9]
    assert native_rate(work) == pytest.approx(capacity, rel=0.01)
    assert len(tail) / (length * 0.1) == pytest.approx(1.45 * capacity, rel=0.12)


def test_things_happen_while_requests_come() -> None:
    """Servers are lost, added, restarted, slowed."""
    kinds = {}
    for each in STRESS:
        scenario = each.scenario(seed=0)
        length = scenario.workload.sessions[-1].start_seconds
        assert all(0 < event.at_seconds < length for event in scenario.events)
        kinds[each.name] = tuple(type(event) for event in scenario.events)
    assert kinds["conversation-lost-and-added"] == (Lose, Add)
    assert kinds["conversation-restarted"] == (Lose, Restore)
    assert kinds["conversation-slowed"] == (Slow,)
    assert sum(each.pickers > 1 for each in STRESS) == 3


@pytest.mark.parametrize(
    "name", [each.name for each in (*POLICY, *STRESS) if each.source.name not in ("m-small", "deepseek-r1")]
)
def test_every_scenario_can_be_run(name: str) -> None:
    """Here its first moments, with the cheapest policy."""
    scenario = plan(name).scenario(seed=0)
    if scenario.limit_seconds is None:
        shorter = replace(scenario, workload=shaping.cut(scenario.workload, requests=40), events=())
    else:
        shorter = replace(scenario, limit_seconds=90.0, warmup_seconds=0.0)
    done = run(shorter, "round-robin", 0)
    assert len(done.records) >= 30
    assert len(done.servers) == 8
    if scenario.limit_seconds is None:
        assert {record.fate for record in done.records} == {"complete"}


@pytest.mark.parametrize("name", [each.name for each in STRESS if each.scenario(0).events])
def test_what_happens_on_the_way_happens(name: str) -> None:
    """With few requests over the whole time."""
    scenario = plan(name).scenario(seed=0)
    done = run(replace(scenario, workload=shaping.thinned(scenario.workload, 0.05, 0)), "round-robin", 0)
    assert len(done.servers) == 8 + any(isinstance(event, Add) for event in scenario.events)
    assert done.servers[-1].requests > 0
    assert done.virtual_seconds > max(event.at_seconds for event in scenario.events)
    fates = Counter(record.fate for record in done.records)
    assert fates["complete"] == len(list(shaping.thinned(scenario.workload, 0.05, 0).turns()))


def test_an_unknown_suite_is_refused_with_the_nearest() -> None:
    """As all names."""
    with pytest.raises(ConfigError, match=r"suite 'polcy': is not known \(did you mean policy\?\)"):
        suite("polcy")


def test_scenarios_are_values() -> None:
    """The same seed, the same scenario."""
    each = plan("ladder-20")
    assert isinstance(each.scenario(0), Scenario)
    assert each.scenario(0) == each.scenario(0)


def test_the_page_lists_every_scenario_and_capacity() -> None:
    """A name may be shortened to its end."""
    text = (Path(igw.__file__).parents[2] / "docs/traces.md").read_text()
    for each in (*POLICY, *STRESS):
        ending = each.name.removeprefix(each.source.name)
        assert f"`{each.name}`" in text or f"`{ending}`" in text
    for (source, _), rate in CAPACITY.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {source} |"))
        assert f" {rate}/s |" in row
