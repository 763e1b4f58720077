"""`route()`: the way of a request, to be read aloud. Measuring is wrapped around it, the wire is in `extproc`."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import compress
from typing import Protocol

import msgspec
import numpy as np

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.errors import BadRequest, NotCached
from igw.facts import Column, Facts
from igw.flow.api import Dispatched, Item
from igw.flow.saturation import Detector
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import Outcome
from igw.prefix.hashing import TOKENS, block_hashes
from igw.prefix.index import PrefixIndex
from igw.request import Head, Request
from igw.routing.claims import Claim, View, fullness
from igw.routing.objectives import HEADERS, PLAIN, Terms, asked, queue_ttl_seconds
from igw.routing.pools import Pools, Rows, candidates
from igw.routing.pricing import expected_ttft_seconds, priced, promise
from igw.routing.producing import Failed, Waited, find_out, screened, tell, wait
from igw.routing.rewriting import HEADER, Rewrites, rewritten
from igw.scheduling.instances import Instances
from igw.scheduling.scheduler import Choice

_NO_COLUMNS: dict[str, Column] = {}
_NO_TERMS: dict[str, Terms] = {}
DEFAULT_FLOW = "default-flow"
"""The fairness id of requests without one (upstream's name)."""
_ASKING = frozenset({*HEADERS, *HEADER})


class Queue(Protocol):
    """Where requests wait for their place (`igw.flow.waiting.Waiting`)."""

    async def place(self, item: Item, claim: Claim, /) -> Dispatched:
        """Return once *item* has its place.

        Raises:
            Rejected: it gets none.
        """
        ...


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
        self.rewrites: Mapping[str, Rewrites] = {}
        """By pool (`namespace/name`), as `priorities`; both swapped whole, between two requests."""
        self.priorities: Mapping[str, Mapping[str, int]] = {}
        """By name of the objective."""
        self.terms: Mapping[str, Mapping[str, Terms]] = {}
        """Likewise, what else objectives say."""
        self.flows: Mapping[str, Queue] = {}
        """Where requests wait, by pool; those of other pools do not."""
        self.holds_when_empty = False
        """Whether requests of a pool without endpoints wait for one; else they are told at once."""
        self.detector: Detector | None = None
        """What tells how full candidates are, beside the room that there is for work where the scheduler asks for its cost."""
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
        """Return where *request* goes; from then on its load is reserved there. Where its pool has a queue, it may wait for that.

        Raises:
            Rejected: it goes nowhere.
        """
        request = self.asked(request)
        columns = self._pools.serving(request.head)
        flow = self.flows.get(columns.pool.key)
        claim = self.claim(request, columns, await self._wait(request) if self._waits else None)
        if flow is None or not (columns.pool.endpoints or self.holds_when_empty):
            return claim.decide()
        return (await flow.place(self.item(claim), claim)).decision  # type: ignore[no-any-return]

    def asked(self, request: Request) -> Request:
        """Return *request* as it is to be decided: with what processors, its headers and rewrites make of it.

        Raises:
            BadRequest: nobody says which model it is for.
        """
        for processor in self.plugins.processors:
            request = processor.process(request)
        if self.rewrites or not _ASKING.isdisjoint(request.head.headers):
            request = self._as_asked(request)
        if request.model_value is not None and not request.model and not request.target_model:
            raise BadRequest("model not found in request body")
        return request

    def claim(self, request: Request, columns: Columns, waited: Waited | None = None) -> Claim:
        """Return the side of *request*, which is `asked`, in flow control."""
        return Claim(self, next(self._ids), request, columns, waited, self._clock())

    def item(self, claim: Claim, received_at: float | None = None) -> Item:
        """Return what flow control is to know of a request; its id is that of the decision to come."""
        request = claim.request
        terms = self.terms.get(claim.columns.pool.key, _NO_TERMS).get(request.objective, PLAIN)
        return Item(
            id=claim.id,
            flow=request.fairness_id or DEFAULT_FLOW,
            priority=request.priority,
            lane=self._lane(claim),
            size_bytes=request.body_bytes,
            prompt_tokens=request.prompt_tokens,
            received_at=claim.received_at if received_at is None else received_at,
            ttl_seconds=queue_ttl_seconds(request, terms),
            ttft_objective_seconds=request.ttft_objective_seconds,
            weight=terms.weight,
        )

    def _lane(self, claim: Claim) -> Hashable:
        """Return what decides who is a candidate: the gateway's subset, and what screeners leave of it.

        Not the model: nothing that tells whether there is room depends on it, and clients may invent as many names as they like.
        """
        subset = claim.request.head.subset
        screeners, endpoints = self.plugins.screeners, claim.columns.pool.endpoints
        if not screeners or not endpoints:
            return subset
        left = compress(endpoints, screened(screeners, claim.request, endpoints).tolist())
        return subset, tuple([endpoint.hostport for endpoint in left])

    def look(
        self, request: Request, columns: Columns, waited: Waited | None, blocks: Sequence[int] | None
    ) -> View:
        """Return what is known now of the candidates of *request*; *blocks*: of its prompt, None if they have to be computed.

        Raises:
            NoEndpoints: there are none.
        """
        now = self._clock()
        endpoints, rows = candidates(columns, request.head, now)
        if self.plugins.screeners:
            endpoints, rows = self._screened(request, columns, endpoints)
        facts = self._gather(request, columns, endpoints, rows, now, blocks)
        # No await from here to the end of the reservation: the next pick must see this one.
        if self.plugins.producers:
            found = waited.at(endpoints) if waited is not None else {}
            facts = find_out(self.plugins.producers, request, facts, found, self.plugin_failed)
        if not self._needs_work:
            return View(endpoints, facts)
        promises, slots = self._pools.promises_of(columns), columns.slots[rows]
        return View(endpoints, *priced(request, facts, promises, slots, self._prefix.oldest_use))

    def choose(self, request: Request, facts: Facts) -> Choice:
        """Return the best candidates for *request*.

        Raises:
            Rejected: there is nobody whom it could go to.
        """
        choice = self._scheduler.pick(request, facts)
        if request.conditional and facts.matched_tokens[choice.picked[0]] <= 0:
            raise NotCached("no endpoint that could be picked is believed to have this prompt in its cache")
        return choice

    def saturation(self, columns: Columns) -> float:
        """Return how full a pool is; 1 is full, and what a pool without endpoints is."""
        if not columns.pool.endpoints:
            return 1.0
        head = Head("", "", {}, columns.pool.key)
        return fullness(self.look(Request(head), columns, None, ()), self.detector)

    def output_tokens(self, request: Request, columns: Columns) -> float:
        """Return how long its answer will be, by those of its model so far."""
        if request.generation is not None:
            return 0.0
        learnt = self._pools.promises_of(columns).model.output_tokens(request.served_model)
        return min(learnt, request.max_output_tokens or learnt)

    def _as_asked(self, request: Request) -> Request:
        pool = self._pools.serving(request.head).pool.key
        return rewritten(asked(request, self.priorities.get(pool, {})), self.rewrites.get(pool))

    async def _wait(self, request: Request) -> Waited:
        """Ask the producers that take their time; what they say is put together with what is true when they have said it."""
        columns, now = self._pools.serving(request.head), self._clock()
        endpoints, rows = candidates(columns, request.head, now)
        facts = self._gather(request, columns, endpoints, rows, now, None)
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
        self,
        request: Request,
        columns: Columns,
        endpoints: tuple[Endpoint, ...],
        rows: Rows,
        now: float,
        blocks: Sequence[int] | None,
    ) -> Facts:
        if blocks is None:
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
            scalars={key: column[rows] for key, column in columns.scalars.items()} if columns.scalars else {},
            now=now,
        )

    def reserve(self, claim: Claim, view: View, choice: Choice) -> Decision:
        """Return the decision that *choice* is; from now on its load is reserved."""
        request, columns = claim.request, claim.columns
        endpoints, facts = view.endpoints, view.facts
        picked, best = tuple(endpoints[index] for index in choice.picked), choice.picked[0]
        promises = self._pools.promises_of(columns) if view.promised is not None else None
        decision = Decision(
            id=claim.id,
            # Without its prompt: the body must not live as long as the answer.
            request=msgspec.structs.replace(request, prompt=(), model_value=None, body=b""),
            endpoints=picked,
            blocks=facts.blocks,
            matched_tokens=int(facts.matched_tokens[best]),
            candidates=endpoints,
            scores=choice.scores,
            costs=facts.costs,
            expected_ttft_seconds=expected_ttft_seconds(request, facts, promises, best) if promises else 0.0,
            delivery=choice.delivery,
            decided_at=self._clock(),
            waited_seconds=facts.now - claim.received_at,
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
