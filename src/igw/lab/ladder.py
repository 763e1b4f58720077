"""The one public measurement of routing policies that can be made again here: llm-d's 73-capacity ladder, and our figures beside its.

The workload itself is `traces.shared_prefix`; how well the two agree, and why not better, is docs/accuracy.md.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from igw.errors import ConfigError
from igw.lab.records import Record, Run
from igw.lab.scenario import Scenario
from igw.lab.summary import Distribution
from igw.lab.traces.shared_prefix import LADDER, SharedPrefix
from igw.lab.workload import Workload
from igw.simulator.manifest import Hardware, SimulatorSpec

POLICIES = {
    "random": "random",
    "load": "queue-kv",
    "estimated": "estimated",
    "precise": "upstream-default",
}
"""The benchmark's policies and what stands for each here. `precise` had the same weights and an index fed by the engines' KV events; ours
is fed by its own picks."""

SERVERS = (
    SimulatorSpec(
        model="qwen3-32b",
        replicas=8,
        hardware=Hardware(calibration="qwen3-32b", tensor_parallel=2),
        block_size=64,
        num_gpu_blocks=307_328 // 64,
    ),
)
"""The pods of the benchmark: two H100 each, KV memory as they reported it."""

PAUSE_SECONDS = 500.0
"""Between stages. The benchmark waits for all answers of a stage; this is longer than any policy needs for them."""

_WARM_UP = 0
_HALVED = 2.0
"""inference-perf of that time reports half the mean time between tokens (examples/traces/README.md)."""


class Figures(msgspec.Struct, frozen=True):
    """One policy at one stage. Durations are seconds; nothing is left out."""

    output_tokens_per_second: float
    """From the stage's start to its last answer."""
    ttft_mean: float
    ttft_p90: float
    itl_mean: float
    """Mean over requests of the time between output tokens."""


class Stage(msgspec.Struct, frozen=True):
    """Poisson arrivals at *rate* per second from *begin* to *end*, seconds of the run."""

    rate: float
    begin: float
    end: float


def scenario(rates: Sequence[float] = (), seed: int = 0) -> tuple[Scenario, tuple[Stage, ...]]:
    """Return the ladder, or its warm-up and the stages of *rates* alone, and where its stages lie, the warm-up left out.

    *seed* draws arrivals and the order of prompts. A rate that is no stage is a ValueError.
    """
    generator = SharedPrefix(pause_seconds=PAUSE_SECONDS, seed=seed)
    known = [rate for rate, _ in LADDER[_WARM_UP + 1 :]]
    for rate in rates:
        if rate not in known:
            raise ValueError(
                f"the ladder has no stage of {rate:g} requests/s; it has {', '.join(f'{r:g}' for r in known)}"
            )
    starts = generator.stage_starts()
    kept = [
        number
        for number in range(len(LADDER))
        if number == _WARM_UP or not rates or known[number - 1] in rates
    ]
    moved, stages, at = {}, [], 0.0
    for number in kept:
        rate, seconds = LADDER[number]
        moved[number] = at - starts[number]
        stages.append(Stage(rate, at, at + seconds))
        at += seconds + PAUSE_SECONDS
    sessions = []
    for session in generator.sessions():
        shift = moved.get(bisect_right(starts, session.start_seconds) - 1)
        if shift is not None:
            sessions.append(replace(session, start_seconds=session.start_seconds + shift))
    workload = Workload("ladder", generator.block_tokens, tuple(sessions))
    made = Scenario(
        name="ladder", workload=workload, servers=SERVERS, warmup_seconds=stages[_WARM_UP].end + PAUSE_SECONDS
    )
    return made, tuple(stages[_WARM_UP + 1 :])


def figures(run: Run, stages: Sequence[Stage]) -> list[Figures]:
    """Return what *run* did in each stage.

    Raises:
        ValueError: a stage is empty, or one had not been answered when the next began.
    """
    made = []
    for number, stage in enumerate(stages):
        records = [
            each for each in run.records if stage.begin <= each.arrived < stage.end + PAUSE_SECONDS / 2
        ]
        if not records:
            raise ValueError(f"no request of {run.policy} arrived in the stage of {stage.rate:g}/s")
        last = max(record.arrived + record.e2e_seconds for record in records)
        if number + 1 < len(stages) and last > stages[number + 1].begin:
            raise ValueError(
                f"{run.policy} was not done with the stage of {stage.rate:g}/s when the next began"
            )
        made.append(_figures(records, last - stage.begin))
    return made


def published(path: Path) -> dict[tuple[str, float], Figures]:
    """Return what the benchmark measured, by its policy and rate; times between tokens as they were, not halved.

    Raises:
        ConfigError: the file is not that table.
    """
    rows = {}
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                rows[row["policy"], float(row["qps"])] = Figures(
                    output_tokens_per_second=float(row["output_tps"]),
                    ttft_mean=float(row["ttft_mean_s"]),
                    ttft_p90=float(row["ttft_p90_s"]),
                    itl_mean=float(row["itl_mean_s"]) * _HALVED,
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"{path} line {number}",
                    f"is no row of the ladder: {error}",
                    "columns: qps, policy, output_tps, ttft_mean_s, ttft_p90_s, itl_mean_s",
                ) from error
    return rows


def mean(several: Sequence[Figures]) -> Figures:
    """Return the mean of each figure over runs of one stage with different seeds."""
    columns = zip(*(msgspec.structs.astuple(each) for each in several), strict=True)
    return Figures(*(sum(column) / len(several) for column in columns))


def _figures(records: Sequence[Record], seconds: float) -> Figures:
    ttft = Distribution.of(record.ttft_seconds for record in records)
    return Figures(
        output_tokens_per_second=sum(record.output_tokens for record in records) / seconds,
        ttft_mean=ttft.mean,
        ttft_p90=ttft.p90,
        itl_mean=sum(record.tpot_seconds for record in records) / len(records),
    )
