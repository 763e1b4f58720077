"""One pick, and one body, by themselves.

A pick by the default policy: facts gathered (hashing a 4 KB prompt, looking 15 blocks up), costs, scorer, picker, the reservation, the index
entry, with plugins timed as in production; then its outcome, from which the policy learns. `choose_us`: of it, from the facts on, what depends
on the policy. A body: decoding for routing, hashing, and entering a prompt
never seen before into the index of an endpoint that is full.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.explaining.ceiling import Ceiling
from igw.explaining.recorder import Recorder
from igw.explaining.settings import Settings
from igw.facts import Facts
from igw.outcomes.learning import Learning
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.reading import read
from igw.parsing.usage import Usage
from igw.prefix.hashing import block_hashes
from igw.prefix.index import PrefixIndex
from igw.request import Head, Request
from igw.routing.pools import Pools
from igw.routing.pricing import priced, prospect
from igw.routing.router import Router
from igw.scheduling import builtin
from igw.scheduling.observed import observed
from igw.telemetry.families import Families

SIZES = (4, 16, 100, 1_000)
_ROUNDS = 7


def best(work: Callable[[], Any], times: int) -> float:
    """Return microseconds per call: the best of several rounds, which noise can only make worse."""
    rounds = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(times):
            work()
        rounds.append((time.process_time() - start) / times * 1e6)
    return min(rounds)


def chat(prompt_bytes: int, group: int = 0, number: int = 0) -> bytes:
    """Return a chat body whose first three quarters are shared by its group."""
    text = f"group {group} ".ljust(16) * (prompt_bytes * 3 // 64) + f"request {number} ".ljust(16) * (
        prompt_bytes // 64
    )
    body = {"model": "m", "stream": False, "messages": [{"role": "user", "content": text}]}
    return json.dumps(body, separators=(",", ":")).encode()


def request_of(body: bytes) -> Request:
    """Return the request that a gateway's chat with *body* becomes."""
    head = Head("/v1/chat/completions", "POST", {}, pool="default/p")
    return read(head, body)


def router_of(size: int) -> tuple[Router, Ledger, Pools]:
    """Return a router over one pool of *size* endpoints that report different loads."""
    prefix, families = PrefixIndex(), Families()
    ledger = Ledger(600.0)
    pools = Pools(prefix, ledger)
    ledger.listen(Learning(pools.promises, time.monotonic))
    endpoints = tuple(Endpoint.at(f"10.0.{row // 250}.{row % 250}", 8000) for row in range(size))
    pools.adopt({"default/p": Pool("p", "default", endpoints)})
    (columns,) = pools.all()
    random = np.random.default_rng(1)
    for endpoint in endpoints:
        columns.report(
            endpoint.hostport, float(random.integers(0, 9)), float(random.integers(0, 60)), random.random()
        )
    scheduler = observed(
        builtin.default(),
        lambda point, kind, name: families.plugin_duration_seconds.labels(point, kind, name).observe,
        time.perf_counter,
    )
    promises = pools.promises_of(columns)
    for slot in columns.slots.tolist():
        promises.scraped(slot, 0, random.random(), 400_000, time.monotonic())
    return Router(pools, prefix, ledger, scheduler, time.monotonic), ledger, pools


def pick_microseconds(size: int) -> float:
    """Measure one pick in a pool of *size*, and its end."""
    router, ledger, _ = router_of(size)
    requests = [request_of(chat(4_000, group=number % 16, number=number)) for number in range(64)]
    usage = Usage(prompt_tokens=1000, completion_tokens=100, cached_tokens=0)
    done = Outcome(End.COMPLETE, status=200, ttft_seconds=0.1, duration_seconds=2.0, usage=usage)

    async def all_of_them() -> None:
        for request in requests:
            decision = await router.route(request)
            ledger.close(decision.id, done)

    loop = asyncio.new_event_loop()
    try:
        return best(lambda: loop.run_until_complete(all_of_them()), 20) / len(requests)
    finally:
        loop.close()


def explained_microseconds(size: int) -> tuple[float, float]:
    """Measure one pick in a pool of *size* and its end, without and with what keeps them to be explained: by turns, so that both have the same machine."""
    router, ledger, _ = router_of(size)
    requests = [request_of(chat(4_000, group=number % 16, number=number)) for number in range(64)]
    usage = Usage(prompt_tokens=1000, completion_tokens=100, cached_tokens=0)
    done = Outcome(End.COMPLETE, status=200, ttft_seconds=0.1, duration_seconds=2.0, usage=usage)
    recorder = Recorder(Settings(), time.monotonic, lambda: router.scheduler, ledger.open_decisions)
    ceiling = Ceiling(router._prefix, Families())

    def ended(decision: Decision, outcome: Outcome) -> None:
        if router.watchers:
            recorder.ended(decision, outcome)

    ledger.listen(ended)

    async def sent() -> float:
        start = time.process_time()
        for request in requests:
            decision = await router.route(request)
            ledger.close(decision.id, done)
        return (time.process_time() - start) / len(requests) * 1e6

    async def by_turns() -> tuple[list[float], list[float]]:
        taken: tuple[list[float], list[float]] = [], []
        for turn in range(200):
            router.watchers = (recorder.made, ceiling.made) if turn % 2 else ()
            taken[turn % 2].append(await sent())
        return taken

    without, explained = asyncio.run(by_turns())
    return float(np.median(without)), float(np.median(explained))


def choose_microseconds(size: int, prompt_bytes: int) -> float:
    """Measure costs, scores and pick in a pool of *size* with ten requests in flight at each, facts being there."""
    router, _, pools = router_of(size)
    (columns,) = pools.all()

    async def send() -> None:
        for number in range(10 * size):
            await router.route(request_of(chat(4_000, group=number % 16, number=number)))

    asyncio.run(send())
    request = request_of(chat(prompt_bytes))
    endpoints, slots, promises = columns.pool.endpoints, columns.slots, pools.promises_of(columns)
    matched = np.random.default_rng(1).integers(0, request.prompt_tokens, size).astype(float)
    facts = Facts(
        columns.waiting, columns.running, columns.kv_usage, columns.inflight, matched, endpoints=endpoints,
        now=time.monotonic(),
    )  # fmt: skip
    oldest_use = np.zeros(int(slots.max()) + 1)
    return best(
        lambda: router.scheduler.pick(
            request, priced(request, facts, prospect(request, facts, promises, slots), oldest_use)
        ),
        300,
    )


def picks() -> list[dict[str, Any]]:
    """Measure a pick at every pool size."""
    return [
        {
            "endpoints": size,
            "pick_us": pick_microseconds(size),
            "choose_us": choose_microseconds(size, 4_000),
            "choose_220_kb_us": choose_microseconds(size, 220_000),
            "unexplained_us": unexplained,
            "explained_us": explained,
        }
        for size in SIZES
        for unexplained, explained in [explained_microseconds(size)]
    ]


def index_microseconds(depth: int) -> float:
    """Measure entering a new prompt of *depth* blocks, and forgetting as many."""
    index, random = PrefixIndex(), np.random.default_rng(1)
    slot = index.slot("10.0.0.1:8000")
    prompts = itertools.cycle(random.integers(2**63, size=(4_000, depth)).tolist())
    for _ in range(3_000):
        index.record(slot, next(prompts))
    return best(lambda: index.record(slot, next(prompts)), 100)


def bodies() -> list[dict[str, Any]]:
    """Measure reading, hashing and indexing a small and a large body."""
    rows = []
    for size in (4_000, 220_000):
        body = chat(size)
        request = request_of(body)
        rows.append(
            {
                "bytes": len(body),
                "read_us": best(lambda body=body: request_of(body), 300),  # type: ignore[misc]
                "hash_us": best(lambda request=request: block_hashes(request.seed, request.prompt), 300),  # type: ignore[misc]
                "index_us": index_microseconds(len(block_hashes(request.seed, request.prompt))),
            }
        )
    return rows
