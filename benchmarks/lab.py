"""The lab's speed: a real trace on eight simulated servers, in a fresh process on one core.

In the loop: the engines' steps, the product's hashing, index, columns, ledger and scheduler, scrapes at the product's pace, clients. Left out:
reading the trace and starting Python.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.lab.traces.catalogue import workload

TRACE = Path(__file__).parent.parent / "examples/traces/mooncake_conversation_a.jsonl.gz"
POLICIES = ("round-robin", "default", "clairvoyant-greedy")


def measured(policy: str) -> dict[str, Any]:
    """Run *policy* once over the whole trace, here."""
    scenario = Scenario(name="lab", workload=workload(TRACE))
    wall, cpu = time.perf_counter(), time.process_time()
    made = run(scenario, policy, 1)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "case": policy,
        "wall_s": wall,
        "cpu_s": cpu,
        "requests_s": len(made.records) / cpu,
        "us_step": cpu / made.steps * 1e6,
        "times_real": made.virtual_seconds / cpu,
        "peak_MiB": _peak_mib(),
    }


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def speed() -> list[dict[str, Any]]:
    """Measure every policy, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return list(pool.map(measured, POLICIES))
