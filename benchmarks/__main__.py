"""`make bench`: every benchmark, a table on screen and `build/bench.json`.

python -m benchmarks [picks] [bodies] [parsing] [forms] [engine] [realtime] [lab] [ladder] [scraping] [metrics] [observability] [cluster] [kube] [proxy]
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # gRPC would remark on every child process

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import (
    cluster,
    engine,
    flow,
    forms,
    kube,
    lab,
    ladder,
    metrics,
    observability,
    parsing,
    picks,
    prefix_exact,
    proxy,
    realtime,
    scraping,
)
from igw.telemetry import log

_RESULTS = Path("build/bench.json")

Rows = list[dict[str, Any]]

BENCHMARKS: dict[str, tuple[str, Callable[[], Rows]]] = {
    "picks": (
        "One pick, us of CPU: hash a 4 KB prompt, look it up, costs, scorer, picker, reservation, index, outcome; no wire. Of it, from the "
        "facts on: costs, scorer, picker",
        picks.picks,
    ),
    "bodies": (
        "One body, us of CPU: decode for routing; hash the prompt in blocks; enter it into a full index",
        picks.bodies,
    ),
    "parsing": (
        "One body per API and size, us of CPU: read as a request (images and long base64 hashed); again with another model's name in it; "
        "`json.loads` of it",
        parsing.bodies,
    ),
    "forms": (
        "One transcription as multipart/form-data, us of CPU: read as a request; of it, finding its parts and hashing its file, whole and as "
        "it arrives; to compare, a plain copy of the body",
        forms.forms,
    ),
    "flow": (
        "Flow control by itself, on one core: dispatches per second with 5,000 outstanding, by upstream's PerformanceMatrix and by fairness "
        "policy; us of CPU that it adds to a request that does not wait, by itself and in the picker; 5,000 that wait for memory: a look in vain, and each that can go; 50,000 "
        "that wait: bytes beside the request, us to come and to go",
        flow.rows,
    ),
    "lab": (
        "A replay of mooncake_conversation_a (5,719 requests, 8 servers) on one core: seconds, requests per CPU second, CPU per engine "
        "step, virtual seconds per CPU second, memory of the process",
        lab.speed,
    ),
    "engine": (
        "The simulator's engine, us of CPU without the price of the step: one step in which all decode; one prompt never "
        "seen before, from submit to its token; memory full of cached blocks",
        engine.steps,
    ),
    "realtime": (
        "igw sim in real time: streams of 50 tokens/s each, read by another process; cores the server uses, and the time that "
        "400 steps took against the model, as a whole and gap by gap",
        lambda: uvloop.run(realtime.run()),
    ),
    "prefix_exact": (
        "The exact prefix index, a million blocks of 16 tokens at 100 endpoints: CPU us, memory, and what events take",
        prefix_exact.rows,
    ),
    "ladder": (
        "llm-d's 73-capacity ladder made again, one draw: simulated output tokens/s, TTFT and time between tokens per stage and policy, "
        "and their ratios to the published ones; docs/accuracy.md has the mean of three",
        ladder.rows,
    ),
    "scraping": (
        "Model servers' metrics. Read a page, us of CPU, beside a full parse of it. Idle, and busy with 100,000 picks/s: cores that scraping takes in "
        "the picker, and how old what it knows is",
        scraping.rows,
    ),
    "metrics": (
        "The picker's metrics page, ms of CPU in which nothing else is done: 1,000 endpoints, then 2,000 tenants with names of their own beside "
        "them; again with upstream's older names",
        metrics.rows,
    ),
    "observability": (
        "One request in the picker, us of CPU without gRPC and Envoy, by what is kept and told of it: spans are made, batched and encoded, and "
        "not sent",
        observability.rows,
    ),
    "cluster": (
        "Following a cluster's Pods (5 KB each) by list and watch, as some of them change: cores, how often and how long the picker takes a new "
        "snapshot, how long until all are known, MB that this took",
        cluster.cluster,
    ),
    "kube": (
        "A picker in a cluster, with a real API server (`make kube`) and Pods that are scraped: its cores and memory without requests; ms from "
        "a Pod that is ready to its first request, of 200",
        kube.rows,
    ),
    "proxy": (
        "CPU us per request through the real Envoy, 8 endpoints, a backend that answers at once. direct: Envoy alone; "
        "bare: a picker of grpc.aio without logic; lean: igw's own gateway; by body: the same, routed by the model's name; full: bodies through the picker both ways",
        lambda: uvloop.run(proxy.run()),
    ),
}


def table(title: str, rows: Rows) -> Table:
    """Return *rows* as a table."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        shown.add_column(column, justify="left" if column in ("case", "mode") else "right")
    for row in rows:
        shown.add_row(*(_cell(row.get(column)) for column in columns))
    return shown


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
    return "" if value is None else str(value)


def main(names: list[str]) -> int:
    """Run the benchmarks *names*, or all; write what was measured."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    log.configure("error")
    console = Console()
    results: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names or list(BENCHMARKS):
        title, run = BENCHMARKS[name]
        results[name] = run()
        console.print(table(title, results[name]))
    _RESULTS.parent.mkdir(exist_ok=True)
    _RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"written to {_RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
