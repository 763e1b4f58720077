"""Runs of several policies on one workload -> a comparison. Nothing here depends on wall time: same runs, same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from igw.lab.oracles import HitOracles
from igw.lab.records import Fate, Record, Run, Sample
from igw.lab.regret import regret
from igw.lab.summary import Figure, Objectives, Summary, figures, summarize

_QUANTILES = tuple(range(1, 100))
_POINTS = 240
"""Most points in time that a load plot shows."""


class Load(msgspec.Struct, frozen=True):
    """Requests at each server over the time of the first seed's run: `requests[server][point]`."""

    at_seconds: tuple[float, ...]
    requests: tuple[tuple[int, ...], ...]


class PolicyResult(msgspec.Struct, frozen=True):
    """One policy on one workload."""

    name: str
    clairvoyant: bool
    """Whether it knows what no picker can: a bound, not a rival."""
    seeds: tuple[Summary, ...]
    figures: dict[str, Figure]
    regret: dict[str, float]
    """What is lost to the clairvoyant policy, request by request and in the mean: `ttft_seconds`, `e2e_seconds`, and `worse_share` of requests
    whose first token came later; empty without one."""
    achieved: dict[str, float]
    """Ratios to the oracles: `hit_infinite`, `hit_pooled`, `goodput`, `ttft`, `e2e` (the last two 1 or less, as oracle / achieved)."""
    ttft_percentiles: tuple[float, ...]
    """1 to 99, over all seeds."""
    load: Load


class Comparison(msgspec.Struct, frozen=True):
    """Several policies on one workload."""

    title: str
    rate: float
    """Factor on the arrival rate of the trace."""
    requests: int
    prompt_tokens_mean: float
    output_tokens_mean: float
    servers: tuple[str, ...]
    objectives: Objectives
    seeds: tuple[int, ...]
    warmup: str
    """In words, what no figure counts."""
    oracles: HitOracles
    policies: tuple[PolicyResult, ...]
    partial: bool = False


class Report(msgspec.Struct, frozen=True):
    """What `igw replay` found."""

    version: str
    comparisons: tuple[Comparison, ...]
    partial: bool = False
    """Whether something was left out because the replay was stopped."""


def results(
    runs: Mapping[str, Sequence[Run]],
    clairvoyant: Iterable[str],
    objectives: Objectives,
    oracles: HitOracles,
) -> tuple[PolicyResult, ...]:
    """Return one result per policy that has a run, in order; the best clairvoyant one is what regret is measured by."""
    seers = [name for name in clairvoyant if runs.get(name)]
    summaries = {
        name: tuple(summarize(run, objectives) for run in each) for name, each in runs.items() if each
    }
    numbers = {name: figures(each) for name, each in summaries.items()}
    best = min(seers, key=lambda name: numbers[name]["ttft.mean"].mean, default=None)
    bound = numbers[best] if best is not None else None
    return tuple(
        PolicyResult(
            name=name,
            clairvoyant=name in seers,
            seeds=each,
            figures=numbers[name],
            regret={} if best is None else _regret(runs[name], runs[best]),
            achieved=_achieved(numbers[name], bound, oracles),
            ttft_percentiles=_percentiles(runs[name]),
            load=_load(runs[name][0].samples),
        )
        for name, each in summaries.items()
    )


def counted(runs: Iterable[Run]) -> list[Record]:
    """Return the records that figures count."""
    return [record for run in runs for record in run.records if not record.warmup]


def _regret(runs: Sequence[Run], bound: Sequence[Run]) -> dict[str, float]:
    seeds = {run.seed: run for run in bound}
    found = [regret(run, seeds[run.seed]) for run in runs if run.seed in seeds]
    names = ("ttft_seconds", "e2e_seconds", "worse_share")
    known = [each for each in found if each.requests]
    return {name: sum(getattr(each, name) for each in known) / len(known) for name in names} if known else {}


def _achieved(
    achieved: Mapping[str, Figure], bound: Mapping[str, Figure] | None, oracles: HitOracles
) -> dict[str, float]:
    hit = achieved["hit_ratio"].mean
    found = {"hit_infinite": _ratio(hit, oracles.infinite), "hit_pooled": _ratio(hit, oracles.pooled)}
    if bound is not None:
        found["goodput"] = _ratio(achieved["goodput"].mean, bound["goodput"].mean)
        for name in ("ttft", "e2e"):
            found[name] = _ratio(bound[f"{name}.mean"].mean, achieved[f"{name}.mean"].mean)
    return found


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _percentiles(runs: Sequence[Run]) -> tuple[float, ...]:
    column = [record.ttft_seconds for record in counted(runs) if record.fate is Fate.COMPLETE]
    return tuple(np.percentile(column, _QUANTILES).tolist()) if column else ()


def _load(samples: Sequence[Sample]) -> Load:
    """Thin the samples of a run out to what a plot can show."""
    step = max(1, -(-len(samples) // _POINTS))
    shown = samples[::step]
    servers = max((len(sample.running) for sample in shown), default=0)

    def at(sample: Sample, server: int) -> int:
        there = server < len(sample.running)
        return sample.running[server] + sample.waiting[server] if there else 0

    return Load(
        tuple(sample.at for sample in shown),
        tuple(tuple(at(sample, server) for sample in shown) for server in range(servers)),
    )
