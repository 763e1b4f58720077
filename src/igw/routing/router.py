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
from igw.facts import APPROXIMATE, Column, Facts
from igw.flow.api import Dispatched, Item
from igw.flow.saturation import Detector
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import Outcome
from igw.prefix.hashing import TOKENS, block_hashes
from igw.prefix.index import PrefixIndex
from igw.request import WITHOUT_BODY, Head, Request
from igw.routing.claims import Claim, View, fullness
from igw.routing.objectives import HEADERS, PLAIN, Terms, asked, queue_ttl_seconds
from igw.routing.pools import Pools, Rows, candidates
from igw.routing.pricing import expected_ttft_seconds, fetched, priced, promise, prospect
from igw.routing.producing import Failed, Waited, find_out, screened, tell, wait
from igw.routing.rewriting import HEADER, Rewrites, rewritten
from igw.scheduling.instances import Instances
from igw.scheduling.scheduler import Choice

_NO_COLUMNS: dict[str, Column] = {}
_NO_TERMS: dict[str, Terms] = {}
DEFAULT_FLOW = "default-flow"
"""The fairness id of requests without one (upstream's name)."""
_ASKING = frozenset({*HEADERS, *HEADER})


Watcher = Callable[[Claim, View, Choice, Decision], None]
"""Told of a decision before anybody else is, with all that it was made from. Facts are shared columns: read before the next await."""


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
    """Decides requests. Owner of nothing but the decision counter; what it decides by may be swapped between two requests (`use`)."""

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
        self.use(scheduler)
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
        self.watchers: tuple[Watcher, ...] = ()
        self.keeps_promises = False
        """Whether work is noted as promised, and learned from, even where the scheduler does not ask for its cost."""
        self._ledger = ledger
        self._clock = clock
        ledger.listen(self._ended)
        pools.listen(self._left)
        # Not from 1: a picker that comes back must not take the ends of the last one's requests for those of its own.
        self._ids = itertools.count(random.getrandbits(48))

    def use(self, scheduler: Scheduling) -> None:
        """Decide by *scheduler* from now on."""
        self.scheduler = scheduler
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
        promises = self._pools.promises_of(columns)
        return View(endpoints, facts, prospect(request, facts, promises, columns.slots[rows]))

    def priced(self, request: Request, view: View) -> View:
        """Return *view* with what *request* costs at each of its candidates, where somebody asks for that."""
        if view.prospect is None:
            return view
        facts = priced(request, view.facts, view.prospect, self._prefix.oldest_use)
        return View(view.endpoints, facts, view.prospect)

    def costed(self, claim: Claim, view: View) -> View:
        """Return *view* with what its request costs at each candidate, even where nobody asks for that."""
        if view.prospect is not None:
            return view
        columns, request = claim.columns, claim.request
        slots = columns.slots[[columns.row[endpoint.hostport] for endpoint in view.endpoints]]
        found = prospect(request, view.facts, self._pools.promises_of(columns), slots)
        return self.priced(request, View(view.endpoints, view.facts, found))

    def choose(self, request: Request, facts: Facts) -> Choice:
        """Return the best candidates for *request*.

        Raises:
            Rejected: there is nobody whom it could go to.
        """
        choice = self.scheduler.pick(request, facts)
        if request.conditional and facts.matched_tokens[choice.picked[0]] <= 0:
            raise NotCached("no endpoint that could be picked is believed to have this prompt in its cache")
        return choice

    def saturation(self, columns: Columns, among: tuple[str, ...] | None = None) -> float:
        """Return how full a pool is, or what of it is *among* these (`ip:port`); 1 is full, and what a pool without endpoints is."""
        if not columns.pool.endpoints:
            return 1.0
        head = Head("", "", {}, columns.pool.key, among)
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
        has_costs = view.prospect is not None
        promises = self._pools.promises_of(columns) if has_costs or self.keeps_promises else None
        matched = int(facts.matched_tokens[best])
        decision = Decision(
            id=claim.id,
            request=msgspec.structs.replace(request, **WITHOUT_BODY),
            endpoints=picked,
            blocks=facts.blocks,
            matched_tokens=matched,
            matched_by=(str(facts.matched_by[best]) if len(facts.matched_by) else APPROXIMATE)
            if matched
            else "",
            candidates=endpoints,
            scores=choice.scores,
            costs=facts.costs,
            expected_ttft_seconds=expected_ttft_seconds(request, facts, promises, best)
            if promises and has_costs
            else 0.0,
            fetch=fetched(facts, best) if facts.fetches else None,
            delivery=choice.delivery,
            decided_at=self._clock(),
            waited_seconds=facts.now - claim.received_at,
        )
        columns.picks += 1
        if self.watchers:
            tell(self.watchers, claim, view, choice, decision)
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
