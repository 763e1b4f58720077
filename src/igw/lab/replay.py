"""Scenarios x policies x seeds -> a report: what `igw replay` does once its options are read. How one run goes is `runner`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import msgspec

from igw.lab.jobs import Job, Progress, run_all
from igw.lab.oracles import HitOracles, dispatched, hit_oracles
from igw.lab.policies.table import CLAIRVOYANT
from igw.lab.records import Run
from igw.lab.report.values import Comparison, Report, results
from igw.lab.scenario import Scenario
from igw.lab.summary import Objectives
from igw.lab.workload import Workload
from igw.simulator.manifest import SimulatorSpec


class Case(msgspec.Struct, frozen=True):
    """One workload on some servers, made when its turn comes: some traces are large."""

    name: str
    scenario: Callable[[int], Scenario]
    """Seed -> what is run with it."""
    rate: float = 1.0
    """What the arrivals were scaled by, for curves."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be compared. Policies are names or paths for `catalogue.find`, clairvoyant ones among them."""

    cases: tuple[Case, ...]
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    objectives: Objectives = Objectives()

    @property
    def runs_per_case(self) -> int:
        """How many runs a case takes."""
        return len(self.policies) * len(self.seeds)


def replay(
    plan: Plan,
    processes: int | None = None,
    progress: Callable[[str, float], None] | None = None,
    look: Callable[[Comparison], None] | None = None,
) -> Report:
    """Run all of *plan* and return the report; after an interrupt, that of what there is, marked as partial.

    *progress* is told the name of the case under way and how many runs are done, in parts of runs; *look* gets every
    comparison as soon as it is there.

    Raises:
        ConfigError: a policy or a trace cannot be used.
    """
    found: list[Comparison] = []
    for number, case in enumerate(plan.cases):
        comparison = _compared(case, plan, processes, _from(progress, case.name, number * plan.runs_per_case))
        if comparison is not None:
            found.append(comparison)
            if look is not None:
                look(comparison)
        if comparison is None or comparison.partial:
            return Report(version("igw"), tuple(found), partial=True)
    return Report(version("igw"), tuple(found))


def _from(progress: Callable[[str, float], None] | None, name: str, done: float) -> Progress | None:
    if progress is None:
        return None
    shares: dict[int, float] = {}

    def told(number: int, share: float) -> None:
        shares[number] = share
        progress(name, done + sum(shares.values()))

    return told


def _compared(case: Case, plan: Plan, processes: int | None, progress: Progress | None) -> Comparison | None:
    """Return what came of a case; None if it was stopped before anything did."""
    scenarios = [case.scenario(seed) for seed in plan.seeds]
    jobs = [
        Job(scenario, policy, seed)
        for seed, scenario in zip(plan.seeds, scenarios, strict=True)
        for policy in plan.policies
    ]
    runs = run_all(jobs, processes, progress)
    by_policy: dict[str, list[Run]] = {policy: [] for policy in plan.policies}
    for job, run in zip(jobs, runs, strict=False):
        if run.records:
            by_policy[job.policy].append(run)
    first = next((run for run in runs if run.records), None)
    if first is None:
        return None
    scenario = scenarios[0]
    oracles = _oracles(scenario, first)
    turns = list(scenario.workload.turns())
    bounds = [policy for policy in plan.policies if policy in CLAIRVOYANT]
    return Comparison(
        title=case.name,
        rate=case.rate,
        requests=len(turns),
        prompt_tokens_mean=sum(turn.prompt_tokens for turn in turns) / len(turns),
        output_tokens_mean=sum(turn.output_tokens for turn in turns) / len(turns),
        servers=tuple(_hardware(spec) for spec in scenario.servers for _ in range(spec.replicas)),
        objectives=plan.objectives,
        seeds=plan.seeds,
        warmup=_warmup(scenario, first),
        oracles=oracles,
        policies=results(by_policy, bounds, plan.objectives, oracles),
        partial=len(runs) < len(jobs) or any(run.partial for run in runs),
    )


def _oracles(scenario: Scenario, run: Run) -> HitOracles:
    """Return what caches could have hit for requests in the order of *run*: a closed loop has no order of its own."""
    capacity = sum(
        spec.replicas * engine.num_gpu_blocks * engine.block_size
        for spec in scenario.servers
        for engine in (spec.server().engine,)
    )
    workload: Workload = scenario.workload
    return hit_oracles(dispatched(workload, run.records), workload.block_tokens, capacity)


def _warmup(scenario: Scenario, run: Run) -> str:
    """Say in words what is not counted."""
    left_out = sum(record.warmup for record in run.records)
    parts = []
    if scenario.warmup_seconds:
        parts.append(f"the first {scenario.warmup_seconds:g} s")
    if scenario.warmup_share:
        parts.append(f"the first {scenario.warmup_share:.0%} of requests")
    return (
        f"{' and '.join(parts)} are warm-up and in no figure ({left_out:,} requests)"
        if parts
        else "nothing is left out"
    )


def _hardware(spec: SimulatorSpec) -> str:
    hardware = spec.hardware
    return f"{hardware.calibration} on {hardware.tensor_parallel} x {hardware.accelerator}"
