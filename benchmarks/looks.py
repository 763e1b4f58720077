"""Flow control with the router's own claims: what it adds where nobody waits, and looks at thousands of prompts that wait for KV memory.

How the engine does where a claim is free is `flow`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from benchmarks.picks import best, chat, request_of, router_of
from igw.flow.api import Dispatched
from igw.flow.engine import Engine
from igw.flow.settings import Settings
from igw.outcomes.outcome import End, Outcome
from igw.routing.claims import Claim
from igw.routing.holding import Holding
from igw.routing.router import Router
from igw.work.promises import Promises

_SERVERS, _WAITING = 8, 5_000
_IDLE_SERVERS, _REQUESTS, _ROUNDS = 4, 500, 15
_CAPACITY = 400_000.0


class Queue:
    """A router whose servers are busy, and an engine in which requests wait for it."""

    def __init__(self, settings: Settings) -> None:
        self._router: Router
        self._router, _, pools = router_of(_SERVERS)
        (self._columns,) = pools.all()
        self._promises: Promises = pools.promises_of(self._columns)
        self._engine = Engine(settings, endpoints=_SERVERS)
        self.sent = 0
        for endpoint in self._columns.pool.endpoints:
            self._columns.report(endpoint.hostport, 0.0, 60.0, 0.5)
        for _ in range(4 * _SERVERS):
            self.arrive()
        self.scraped(0.979)
        while len(self._engine) < _WAITING:
            self.arrive()

    def _claim(self) -> Claim:
        self.sent += 1
        request = request_of(chat(4_000, group=self.sent % 64, number=self.sent))
        return self._router.claim(self._router.asked(request), self._columns)

    def arrive(self) -> None:
        """Let one come."""
        claim = self._claim()
        self._engine.arrive(self._router.item(claim), claim, time.monotonic())

    def scraped(self, kv_usage: float) -> None:
        """Have all servers say that so much of their memory is in use, and nobody without a first token."""
        for slot in self._columns.slots.tolist():
            self._promises.scraped(slot, 0.0, kv_usage, _CAPACITY, time.monotonic() + 3600.0)

    def look(self) -> int:
        """Look once; return how many left."""
        effects = self._engine.changed(time.monotonic())
        return sum(isinstance(effect, Dispatched) for effect in effects)


async def added(settings: Settings) -> float:
    """Return how many microseconds a request takes more with flow control than without, from route to end, where nobody waits."""
    router, ledger, pools = router_of(_IDLE_SERVERS)
    holding = Holding(router, pools, ledger, time.monotonic, lambda _: None)
    requests = itertools.cycle([request_of(chat(4_000, group=number)) for number in range(64)])

    async def took() -> float:
        began = time.process_time()
        for _ in range(_REQUESTS):
            decision = await router.route(next(requests))
            ledger.close(decision.id, Outcome(End.COMPLETE))
        return (time.process_time() - began) / _REQUESTS * 1e6

    without: list[float] = []
    held: list[float] = []
    for _ in range(_ROUNDS):
        for found, wanted in ((without, None), (held, settings)):
            holding.use(wanted)
            found.append(await took())
    return min(held) - min(without)


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Measure what it adds; a look when nobody fits, and what it takes to let everybody go for whom there is room then."""
    idle = {
        "case": "in the picker, where nobody waits: more than without",
        "us": asyncio.run(added(settings)),
    }
    queue = Queue(settings)
    case = f"{_WAITING:,} wait for memory at {_SERVERS} servers"
    found: list[dict[str, Any]] = [idle, {"case": f"{case}: a look in vain", "us": best(queue.look, 200)}]
    queue.scraped(0.96)
    began, left = time.process_time(), queue.look()
    took = (time.process_time() - began) * 1e6
    return [*found, {"case": f"{case}: each of {left} that can go", "us": took / left}]
