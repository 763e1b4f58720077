"""`route()`: the way of a request, to be read aloud. Measuring is wrapped around it, the wire is in `extproc`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Protocol

import msgspec

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.outcomes.ledger import Ledger
from igw.prefix.hashing import TOKENS, block_hashes
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.pools import Pools, Rows, candidates
from igw.scheduling.scheduler import Choice


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
        self.scheduler = scheduler
        self._pools = pools
        self._prefix = prefix
        self._ledger = ledger
        self._clock = clock
        # Not from 1: a picker that comes back must not take the ends of the last one's requests for those of its own.
        self._ids = itertools.count(random.getrandbits(48))

    async def route(self, request: Request) -> Decision:
        """Return where *request* goes; from then on its load is reserved there.

        Raises:
            Rejected: it goes nowhere.
        """
        columns = self._pools.serving(request.head)
        endpoints, rows = candidates(columns, request.head)
        facts = self._gather(request, columns, endpoints, rows)
        # No await from here to the end of the reservation: the next pick must see this one.
        choice = self.scheduler.pick(request, facts)
        return self._reserve(request, columns, endpoints, facts, choice)

    def _gather(
        self, request: Request, columns: Columns, endpoints: tuple[Endpoint, ...], rows: Rows
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
        )

    def _reserve(
        self,
        request: Request,
        columns: Columns,
        endpoints: tuple[Endpoint, ...],
        facts: Facts,
        choice: Choice,
    ) -> Decision:
        picked = tuple(endpoints[index] for index in choice.picked)
        decision = Decision(
            id=next(self._ids),
            # Without its prompt: the body must not live as long as the answer.
            request=msgspec.structs.replace(request, prompt=()),
            endpoints=picked,
            blocks=facts.blocks,
            matched_tokens=int(facts.matched_tokens[choice.picked[0]]),
            candidates=endpoints,
            scores=choice.scores,
            decided_at=self._clock(),
        )
        columns.picks += 1
        self._ledger.open(decision, columns)
        self._prefix.record(int(columns.slots[columns.row[picked[0].hostport]]), facts.blocks)
        return decision
