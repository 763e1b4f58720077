"""`route()`: the way of a request, to be read aloud. Measuring is wrapped around it, the wire is in `extproc`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from itertools import compress
from typing import Protocol

import msgspec
import numpy as np

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Column, Facts
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import Outcome
from igw.prefix.hashing import TOKENS, block_hashes
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.pools import Pools, Rows, candidates
from igw.routing.pricing import expected_ttft_seconds, priced, promise
from igw.routing.producing import Failed, Waited, find_out, screened, tell, wait
from igw.scheduling.instances import Instances
from igw.scheduling.scheduler import Choice

_NO_COLUMNS: dict[str, Column] = {}


class Scheduling(Protocol):
    """What routing needs of a scheduler."""

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return candidate indices, best first."""
        ...


class Router:
    """Decides requests. Owner of nothing but the decision counter; `scheduler` may be swapped between two requests."""

    def __init__(
        self,
        pools: Pools,
        prefix: PrefixIndex,
        ledger: Ledger,
        scheduler: Scheduling,
        clock: Callable[[], float],
    ) -> None:
        self._pools = pools
        self._prefix = prefix
        self.scheduler = scheduler
        self.plugin_failed: Failed = _nobody_counts
        """Told of producers that fail or are late."""
        self._ledger = ledger
        self._clock = clock
        ledger.listen(self._ended)
        pools.listen(self._left)
        # Not from 1: a picker that comes back must not take the ends of the last one's requests for those of its own.
        self._ids = itertools.count(random.getrandbits(48))

    @property
    def scheduler(self) -> Scheduling:
        """What requests are decided by."""
        return self._scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Scheduling) -> None:
        self._scheduler = scheduler
        self._needs_work = bool(getattr(scheduler, "needs_work", False))
        self.plugins = plugins = getattr(scheduler, "plugins", Instances())
        self._waits = plugins.waits
        self._prefix.expect(plugins.capacity_tokens, follow_engines=plugins.follows_engines)

    async def route(self, request: Request) -> Decision:
        """Return where *request* goes; from then on its load is reserved there.

        Raises:
            Rejected: it goes nowhere.
        """
        for processor in self.plugins.processors:
            request = processor.process(request)
        waited = await self._wait(request) if self._waits else None
        columns = self._pools.serving(request.head)
        now = self._clock()
        endpoints, rows = candidates(columns, request.head, now)
        if self.plugins.screeners:
            endpoints, rows = self._screened(request, columns, endpoints)
        facts = self._gather(request, columns, endpoints, rows, now)
        # No await from here to the end of the reservation: the next pick must see this one.
        if self.plugins.producers:
            found = waited.at(endpoints) if waited is not None else {}
            facts = find_out(self.plugins.producers, request, facts, found, self.plugin_failed)
        if self._needs_work:
            promises, slots = self._pools.promises_of(columns), columns.slots[rows]
            facts = priced(request, facts, promises, slots, self._prefix.oldest_use)
        choice = self._scheduler.pick(request, facts)
        return self._reserve(request, columns, endpoints, facts, choice)

    async def _wait(self, request: Request) -> Waited:
        """Ask the producers that take their time; what they say is put together with what is true when they have said it."""
        columns, now = self._pools.serving(request.head), self._clock()
        endpoints, rows = candidates(columns, request.head, now)
        facts = self._gather(request, columns, endpoints, rows, now)
        return await wait(self.plugins.producers, request, facts, self.plugin_failed)

    def _screened(
        self, request: Request, columns: Columns, endpoints: tuple[Endpoint, ...]
    ) -> tuple[tuple[Endpoint, ...], Rows]:
        keep = screened(self.plugins.screeners, request, endpoints)
        endpoints = tuple(compress(endpoints, keep.tolist()))
        return endpoints, np.array([columns.row[endpoint.hostport] for endpoint in endpoints], dtype=np.intp)

    def _ended(self, decision: Decision, outcome: Outcome) -> None:
        tell(self.plugins.ended, decision, outcome)

    def _left(self, hostport: str) -> None:
        tell(self.plugins.left, hostport)

    def _gather(
        self, request: Request, columns: Columns, endpoints: tuple[Endpoint, ...], rows: Rows, now: float
    ) -> Facts:
        blocks = block_hashes(request.seed, request.prompt)
        return Facts(
            waiting=columns.waiting[rows],
            running=columns.running[rows],
            kv_usage=columns.kv_usage[rows],
            inflight=columns.inflight[rows],
            matched_tokens=TOKENS[self._prefix.match(blocks)[columns.slots[rows]]],
            blocks=blocks,
            prefix_tokens=int(TOKENS[len(blocks)]),
            inflight_tokens=columns.inflight_tokens[rows],
            endpoints=endpoints,
            adapters=columns.adapters[rows],
            known=columns.reported[rows],
            now=now,
        )

    def _reserve(
        self,
        request: Request,
        columns: Columns,
        endpoints: tuple[Endpoint, ...],
        facts: Facts,
        choice: Choice,
    ) -> Decision:
        picked, best = tuple(endpoints[index] for index in choice.picked), choice.picked[0]
        promises = self._pools.promises_of(columns) if self._needs_work else None
        decision = Decision(
            id=next(self._ids),
            # Without its prompt: the body must not live as long as the answer.
            request=msgspec.structs.replace(request, prompt=(), model_value=None),
            endpoints=picked,
            blocks=facts.blocks,
            matched_tokens=int(facts.matched_tokens[best]),
            candidates=endpoints,
            scores=choice.scores,
            costs=facts.costs,
            expected_ttft_seconds=expected_ttft_seconds(facts, promises, best) if promises else 0.0,
            delivery=choice.delivery,
            decided_at=self._clock(),
        )
        columns.picks += 1
        # What explains it must not live as long as the answer: that is columns of the whole pool.
        self._ledger.open(
            msgspec.structs.replace(decision, candidates=(), scores=_NO_COLUMNS, costs=_NO_COLUMNS), columns
        )
        slot = int(columns.slots[columns.row[picked[0].hostport]])
        self._prefix.record(slot, facts.blocks)
        if promises is not None:
            promise(promises, slot, decision)
        if self.plugins.decided:
            tell(self.plugins.decided, decision)
        return decision


def _nobody_counts(_kind: str, _name: str, _reason: str) -> None:
    """Where there are no metrics, the log says it."""
