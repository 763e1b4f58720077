"""A run -> figures, and several seeds of one policy -> means with their deviation. How they are shown is in `report`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from igw.lab.records import Fate, Record, Run


class Objectives(msgspec.Struct, frozen=True):
    """What a request must keep to count as good; None where it does not matter."""

    ttft_seconds: float | None = 2.0
    tpot_seconds: float | None = 0.05
    e2e_seconds: float | None = None

    def met(self, record: Record) -> bool:
        """Return whether *record* was answered whole and in time."""
        return record.fate is Fate.COMPLETE and all(
            limit is None or value <= limit
            for value, limit in (
                (record.ttft_seconds, self.ttft_seconds),
                (record.tpot_seconds, self.tpot_seconds),
                (record.e2e_seconds, self.e2e_seconds),
            )
        )


class Distribution(msgspec.Struct, frozen=True):
    """Some durations in seconds; all zero when there were none."""

    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float]) -> Distribution:
        """Return mean and percentiles, these interpolated linearly."""
        column = np.fromiter(values, dtype=np.float64)
        if not len(column):
            return cls()
        p50, p90, p99 = np.percentile(column, (50, 90, 99)).tolist()
        return cls(float(column.mean()), p50, p90, p99)


class Summary(msgspec.Struct, frozen=True):
    """One run in figures. Requests of the warm-up are left out of all but `warmup`."""

    requests: int
    complete: int
    rejected: int
    lost: int
    unfinished: int
    warmup: int
    ttft: Distribution
    tpot: Distribution
    """Of answers longer than one token."""
    e2e: Distribution
    held: Distribution
    """At the gateway, before a server was chosen."""
    queued: Distribution
    """At the server, before its first step."""
    goodput: float
    """Share of all requests that met the objectives."""
    good_per_second: float
    hit_ratio: float
    """Share of prompt tokens that servers found in their prefix cache."""
    output_tokens_per_second: float
    work_spread: float
    """Busiest server's share of the busy time times the number of servers: 1 is even."""
    jain: float
    """Jain's index over tenants of tokens served per second of request time: 1 is fair, 1/tenants the opposite."""
    preemptions: int


def summarize(run: Run, objectives: Objectives) -> Summary:
    """Return the figures of *run*; `good` requests are those that met *objectives*."""
    counted = [record for record in run.records if not record.warmup]
    complete = [record for record in counted if record.fate is Fate.COMPLETE]
    fates = [record.fate for record in counted]
    good = sum(map(objectives.met, counted))
    span = _span(counted, run.virtual_seconds)
    prompt = sum(record.prompt_tokens for record in complete)
    return Summary(
        requests=len(counted),
        complete=len(complete),
        rejected=fates.count(Fate.REJECTED),
        lost=fates.count(Fate.LOST),
        unfinished=fates.count(Fate.UNFINISHED),
        warmup=len(run.records) - len(counted),
        ttft=Distribution.of(record.ttft_seconds for record in complete),
        tpot=Distribution.of(record.tpot_seconds for record in complete if record.output_tokens > 1),
        e2e=Distribution.of(record.e2e_seconds for record in complete),
        held=Distribution.of(record.held_seconds for record in complete),
        queued=Distribution.of(record.queued_seconds for record in complete),
        goodput=good / len(counted) if counted else 0.0,
        good_per_second=good / span if span else 0.0,
        hit_ratio=sum(record.cached_tokens for record in complete) / prompt if prompt else 0.0,
        output_tokens_per_second=sum(record.output_tokens for record in complete) / span if span else 0.0,
        work_spread=_spread([server.busy_seconds for server in run.servers]),
        jain=jain(_service(complete)),
        preemptions=sum(server.preemptions for server in run.servers),
    )


def jain(shares: Sequence[float]) -> float:
    """Return Jain's index of *shares* (Jain, Chiu, Hawe 1984): (sum x)^2 / (n * sum x^2); 1 for none."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


class Figure(msgspec.Struct, frozen=True):
    """One figure over several seeds: its mean, and the standard deviation of the sample (0 with one seed)."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Return mean and deviation of at least one value."""
        mean = math.fsum(values) / len(values)
        if len(values) < 2:
            return cls(mean, 0.0)
        return cls(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)))


FIGURES = tuple(name for name in Summary.__struct_fields__)
"""Names under which `figures` gives the parts of a summary; distributions by `name.mean`, `name.p50`, and so on."""


def figures(summaries: Sequence[Summary]) -> dict[str, Figure]:
    """Return every figure of the seeds of one policy, distributions taken apart: `ttft.mean`, `ttft.p99`, ..."""
    columns: dict[str, list[float]] = {}
    for summary in summaries:
        for name in FIGURES:
            value = getattr(summary, name)
            if isinstance(value, Distribution):
                for part in Distribution.__struct_fields__:
                    columns.setdefault(f"{name}.{part}", []).append(getattr(value, part))
            else:
                columns.setdefault(name, []).append(float(value))
    return {name: Figure.of(values) for name, values in columns.items()}


def _span(counted: Sequence[Record], end: float) -> float:
    """Return the time from the first counted arrival to the last end."""
    if not counted:
        return 0.0
    first = min(record.arrived for record in counted)
    last = max(
        (record.arrived + record.e2e_seconds for record in counted if record.fate is Fate.COMPLETE),
        default=end,
    )
    return last - first


def _spread(busy: Sequence[float]) -> float:
    total = sum(busy)
    return max(busy) * len(busy) / total if total else 1.0


def _service(complete: Iterable[Record]) -> list[float]:
    tokens: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for record in complete:
        tokens[record.tenant] = tokens.get(record.tenant, 0.0) + record.prompt_tokens + record.output_tokens
        seconds[record.tenant] = seconds.get(record.tenant, 0.0) + record.e2e_seconds
    return [tokens[tenant] / seconds[tenant] for tenant in sorted(tokens) if seconds[tenant]]
