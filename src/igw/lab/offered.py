"""Load at a given rate on a given pool, out of the traces that come with the project: what suites are made of.

Which scenarios there are is `suite`; how much a pool can take is found by `capacity`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from igw.errors import ConfigError
from igw.lab import shaping
from igw.lab.scenario import DEFAULT_SERVERS
from igw.lab.traces.catalogue import GENERATORS, workload
from igw.lab.users import with_users
from igw.lab.workload import Workload
from igw.simulator.manifest import SimulatorSpec

PoolName = Literal["even", "mixed", "one-slow"]

_FAST = DEFAULT_SERVERS[0]
_SLOW = replace(_FAST, hardware=replace(_FAST.hardware, accelerator="A100"))

POOLS: dict[PoolName, tuple[SimulatorSpec, ...]] = {
    "even": (replace(_FAST, replicas=8),),
    "mixed": (replace(_FAST, replicas=6), replace(_SLOW, replicas=2)),
    "one-slow": (replace(_FAST, replicas=7), replace(_SLOW, replicas=1)),
}
"""Eight servers each, of two H100; in `mixed` one in four has two A100 instead, in `one-slow` one in eight."""

CONTEXT_TOKENS = _FAST.max_model_len
"""Sessions end before their first request that is longer."""

_FOLDER = Path("examples/traces")


class Source(msgspec.Struct, frozen=True):
    """Where requests come from: a trace that is scaled to a rate, or numbers to draw from at a rate."""

    name: str
    """As suites call it."""
    trace: str
    """File in the folder of traces, or name of a generator."""
    requests: int = 0
    """How many to draw; 0 for a trace that lists its requests."""
    easy_rate: float = 1.0
    """Requests per second that every pool keeps up with: where the search for its capacity begins."""


CONVERSATION = Source("conversation", "mooncake_conversation_a.jsonl.gz", easy_rate=2)
AZURE_CONV = Source("azure-conv", "azure_conv_2023_a.csv.gz", easy_rate=32)
AZURE_CODE = Source("azure-code", "azure_code_2023_a.csv.gz", easy_rate=8)
DEEPSEEK_R1 = Source("deepseek-r1", "servegen_deepseek_r1.jsonl.gz", 16_000, easy_rate=8)
M_SMALL = Source("m-small", "servegen_m_small_day2.jsonl.gz", 50_000, easy_rate=512)
LADDER = Source("ladder", "shared-prefix", 4_000)
CLAUDE_CODE = Source("claude-code", "claude_code_sessions_a.jsonl.gz")
AGENTS = Source("agents", "agent_sessions_a.jsonl.gz")
ARENA = Source("arena", "arena_clients_a.csv", easy_rate=32)


def at_rate(source: Source, rate: float, seed: int, traces: Path | None = None) -> Workload:
    """Return an open loop of *rate* requests per second in the mean; *traces* is the folder of trace files.

    Listed traces are squeezed or stretched in time, so a higher rate is a shorter run. ConfigError if the file is not there.
    """
    if source.requests:
        options = {"rate": rate, "seconds": source.requests / rate, "seed": seed}
        return workload(_place(source, traces), options=options)
    listed = _read(_place(source, traces))
    return shaping.scaled(listed, rate / native_rate(listed))


def by_users(source: Source, users: int, seed: int, traces: Path | None = None) -> Workload:
    """Return a closed loop: *users* working through the sessions of a trace, each cut to the servers' context."""
    sessions = shaping.limited(_read(_place(source, traces)), CONTEXT_TOKENS)
    return with_users(sessions, users, seed)


def native_rate(listed: Workload) -> float:
    """Return sessions per second; 1 for a workload that has no length."""
    length = listed.sessions[-1].start_seconds if listed.sessions else 0.0
    return len(listed.sessions) / length if length else 1.0


def traces_folder() -> Path:
    """Return the folder of the traces that come with the source; ConfigError where only the package is installed."""
    for folder in (Path(__file__).parents[3] / _FOLDER, _FOLDER):
        if folder.is_dir():
            return folder
    raise ConfigError(str(_FOLDER), "there is no such folder", "run it where the project's source is")


def _place(source: Source, traces: Path | None) -> str:
    return source.trace if source.trace in GENERATORS else str((traces or traces_folder()) / source.trace)


@cache
def _read(path: str) -> Workload:
    return workload(path)
