"""Who may go to a model server now, and who waits: events and `now` in, effects out. Nothing here waits, reads a clock or knows an endpoint.

Futures and timers are `waiting`; order within a priority is `band`.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable

from igw.flow.api import (
    Claim,
    Dispatched,
    Effect,
    Evicted,
    EvictInFlight,
    Failed,
    Item,
    Outcome,
    Placed,
    Refusal,
    Rejected,
)
from igw.flow.asking import Asking
from igw.flow.band import Band
from igw.flow.bands import Bands
from igw.flow.deadlines import Budgets
from igw.flow.drain_rate import DrainRate
from igw.flow.flows import Flow, Held, InFlight
from igw.flow.heap import Heap
from igw.flow.revocation import Revocation
from igw.flow.room import leaves_room, within
from igw.flow.settings import Settings
from igw.flow.statistics import Fill, Standing, Statistics


class Engine:
    """The queues of one pool. Whoever leaves with a place has it reserved already: asking and reserving are one call of its claim.

    Every method returns what follows from it, in order. An item that arrived ends in exactly one of `Dispatched`, `Rejected`, `Evicted`
    and `Failed`; none of them after `cancel`, but the one that it returns.
    """

    def __init__(
        self, settings: Settings, saturation: Callable[[], float] = lambda: 0.0, *, endpoints: int = 1
    ) -> None:
        """Take how full the pool is (1 is full), for policies that ask, and how many endpoints it has."""
        self._settings = settings
        self._saturation = saturation
        self._budgets = Budgets(settings.request_ttl_seconds, settings.no_endpoint_ttl_seconds)
        self._budgets.change(empty=endpoints == 0, now=-math.inf)
        self._bands = Bands(settings, saturation)
        self._waits_in: Counter[Hashable] = Counter()
        self._held: dict[int, Held] = {}
        self._bytes = 0
        self._inflight: dict[int, InFlight] = {}
        self._expiry: Heap[Held] = Heap()
        self._asking = Asking(self._bands)
        self._refused = self._asking.refused
        self._revocation = Revocation(settings.revocation)
        self._drained = DrainRate()
        self._outcomes: Counter[tuple[Outcome, int]] = Counter()
        self._number = 0
        self._turn = 0
        self._left = 0
        """How many have left for a place."""
        self._stopped = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._held)

    def arrive(self, item: Item, claim: Claim, now: float) -> list[Effect]:
        """Let *item* go at once if there is a place and nobody waits for it before; else let it wait, or turn it away.

        Raises:
            ValueError: something of this id waits or is in flight, or its weight is not above 0.
        """
        self._check(item)
        if self._stopped:
            return [self._rejected(item, Outcome.REJECTED_OTHER, now)]
        expires_at = self._budgets.expires_at(item, now)
        if expires_at <= now:
            self._outcomes[self._late, item.priority] += 1
            return [Evicted(item.id, self._late)]
        band = self._bands.of(item.priority, now)
        known = self._budgets.empty or self._refused.covers(item.lane, item.priority)
        verdict: Placed | Refusal | Exception | None = None
        if not known and not self._waits_in[item.lane]:
            verdict = self._asking.ask(claim, band, now)
            if isinstance(verdict, Placed):
                return [self._dispatched(item, band, band.flow_of(item, now), verdict, now, now)]
            if isinstance(verdict, Exception):
                self._outcomes[Outcome.EVICTED_OTHER, item.priority] += 1
                return [Failed(item.id, verdict)]
        if not self._has_room(band, item):
            empty = self._budgets.empty
            why = Outcome.REJECTED_NO_ENDPOINTS if empty else Outcome.REJECTED_CAPACITY
            return [self._rejected(item, why, now)]
        held = self._hold(item, claim, band, expires_at, now)
        if verdict is Refusal.FULL:
            self._refused.full(item.lane, item.priority)
        elif verdict is Refusal.UNFIT:
            self._refused.unfit(item.lane, held.number, item.priority)
        return [] if known or verdict is not None else self._drain(now)

    def cancel(self, request: int, now: float) -> list[Effect]:
        """Let the client of a waiting request go; its room is free at once. Nothing follows if it does not wait (any more)."""
        held = self._held.get(request)
        if held is None:
            return []
        return [self._evicted(held, Outcome.EVICTED_CONTEXT_CANCELLED, now), *self._drain(now)]

    def first_token(self, request: int) -> None:
        """Note that an answer has begun. Follow it with `changed`: the endpoint has room for another prefill."""
        record = self._inflight.get(request)
        if record is not None and record.victim is not None:
            self._revocation.first_token(record.victim)

    def ended(
        self,
        request: int,
        now: float,
        *,
        uncached_tokens: float | None = None,
        output_tokens: float | None = None,
    ) -> None:
        """Note that a request in flight has ended, and charge what it was found to have cost; None: as it was thought.

        Follow it with `changed`, once for as many ends as there are.
        """
        record = self._inflight.pop(request, None)
        if record is None:
            return
        band, flow = record.band, record.flow
        cost = band.shares.cost(
            record.prompt_tokens,
            record.uncached_tokens if uncached_tokens is None else uncached_tokens,
            record.output_tokens if output_tokens is None else output_tokens,
        )
        if cost != record.cost:
            band.shares.corrected(flow, cost - record.cost, now)
            band.charged(flow, now)
        band.inflight -= 1
        band.idle_since = now
        self._bands.wants(band, now)
        flow.inflight -= 1
        band.settle(flow, now)
        self._revocation.ended(request, record.victim, now)

    def changed(self, now: float) -> list[Effect]:
        """Let everybody go for whom there is a place now: something has ended, begun, been scraped, joined or left."""
        self._refused.clear()
        self._turn += 1
        self._bands.begin_turn(self._turn)
        if not self._held:
            return []
        effects = self._drain(now)
        return effects + self._revoked(now)

    def pool_changed(self, endpoints: int, now: float) -> list[Effect]:
        """Note how many endpoints the pool has. Whether it has any decides which budget counts."""
        if self._budgets.change(empty=endpoints == 0, now=now):
            self._expiry = Heap()
            for held in self._held.values():
                held.expires_at = self._budgets.expires_at(held.item, held.arrived_at)
                self._watch(held)
        return self.changed(now)

    def expire(self, now: float) -> list[Effect]:
        """End the wait of everybody whose time is over. To be called when `next_deadline` has come."""
        effects: list[Effect] = []
        while (entry := self._expiry.first()) is not None and entry[0] <= now:
            effects.append(self._evicted(entry[2], self._late, now))
        self._revocation.expire(now)
        if effects:
            effects += self._drain(now)
        return effects + self._revoked(now)

    def next_deadline(self, now: float) -> float:
        """Return when `expire` has something to do; infinity for never."""
        entry = self._expiry.first()
        deadline = math.inf if entry is None else entry[0]
        return min(deadline, self._revocation.deadline(now)) if self._held else math.inf

    def stop(self, now: float) -> list[Effect]:
        """Turn everybody away who waits, and whoever comes from now on. To be called once draining has taken long enough."""
        self._stopped = True
        return [self._evicted(held, Outcome.EVICTED_OTHER, now) for held in list(self._held.values())]

    def standing(self, request: int, now: float) -> Standing | None:
        """Return where a request stands; None if it does not wait."""
        held = self._held.get(request)
        if held is None:
            return None
        band = self._bands.of(held.item.priority, now)
        line = held.line
        # Its flow's turn comes once per round of the flows that wait.
        own = max(1, min(held.place_in_line - line.gone, len(line.items)))
        lines = len(band.lanes[held.item.lane])
        position = self._bands.ahead(band.priority + 1) + min(band.waiting, (own - 1) * lines + 1)
        return Standing(position, self._drained.wait_seconds(position, now))

    def statistics(self, now: float) -> Statistics:
        """Return a picture of this moment."""
        revocation, settings = self._revocation, self._settings
        return Statistics(
            Fill(len(self._held), self._bytes, settings.max_requests, settings.max_bytes),
            {
                band.priority: Fill(
                    band.waiting, band.waiting_bytes, band.settings.max_requests, band.settings.max_bytes
                )
                for band in self._bands
            },
            {
                (flow.id, band.priority): (flow.waiting, flow.waiting_bytes)
                for band in self._bands
                for flow in band.flows.values()
                if flow.waiting
            },
            len(self._inflight),
            self._drained.per_second(now),
            dict(self._outcomes),
            dict(revocation.issued),
            revocation.confirmed,
            revocation.timed_out,
            revocation.pending,
            revocation.deficit,
        )

    @property
    def _late(self) -> Outcome:
        return Outcome.EVICTED_NO_ENDPOINTS if self._budgets.empty else Outcome.EVICTED_TTL

    def _check(self, item: Item) -> None:
        if item.id in self._held or item.id in self._inflight:
            raise ValueError(f"request {item.id} is here already")
        if item.weight <= 0:
            raise ValueError(f"request {item.id} has weight {item.weight}, which must be above 0")

    def _has_room(self, band: Band, item: Item) -> bool:
        settings, waiting = self._settings, len(self._held)
        limits = within(self._bytes, item.size_bytes, settings.max_bytes)
        if not (limits and within(waiting, 1, settings.max_requests) and band.has_room(item)):
            return False
        if not band.shares.leaves_room:
            return True
        return leaves_room(band.waiting_bytes, self._bytes, settings.max_bytes) and leaves_room(
            band.waiting, waiting, settings.max_requests
        )

    def _hold(self, item: Item, claim: Claim, band: Band, expires_at: float, now: float) -> Held:
        self._number += 1
        held = Held(item, claim, self._number, now)
        held.expires_at = expires_at
        held.weigh(self._left)
        band.add(held, now)
        self._bands.wants(band, now)
        self._held[item.id] = held
        self._bytes += item.size_bytes
        self._waits_in[item.lane] += 1
        self._watch(held)
        return held

    def _watch(self, held: Held) -> None:
        held.expiry = None
        if held.expires_at != math.inf:
            held.expiry = self._expiry.push(held.expires_at, held, held.number)

    def _let_go(self, held: Held, now: float) -> Band:
        item = held.item
        band = self._bands.of(item.priority, now)
        band.remove(held, now)
        band.idle_since = now
        if not band.waiting:
            band.credit = min(0.0, band.credit)
        del self._held[item.id]
        self._bytes -= item.size_bytes
        self._waits_in[item.lane] -= 1
        if not self._waits_in[item.lane]:
            del self._waits_in[item.lane]
        if held.expiry is not None:
            self._expiry.remove(held.expiry)
        return band

    def _drain(self, now: float) -> list[Effect]:
        """Dispatch everybody for whom there is a place, bands and lanes in turn."""
        effects: list[Effect] = []
        if self._budgets.empty or not self._held:
            return effects
        rings = {
            band.priority: deque(lane for lane in band.lanes if not self._refused.covers(lane, band.priority))
            for band in self._bands
            if band.waiting
        }
        left = self._left
        while (band := self._bands.next(rings)) is not None:
            lane = rings[band.priority].popleft()
            effect = self._serve(band, lane, now, left)
            if effect is not None:
                effects.append(effect)
                if lane in band.lanes:
                    rings[band.priority].append(lane)
        return effects

    def _serve(self, band: Band, lane: Hashable, now: float, left: int) -> Effect | None:
        """Let one of *lane* go; None if nobody finds a place. *left*: how many had left before this look."""
        alone = self._waits_in[lane] == 1
        found = self._asking.first(band, lane, now, left=left, alone=alone)
        return None if found is None else self._leaves(found[0], band, found[1], now)

    def _leaves(self, held: Held, band: Band, verdict: Placed | Exception, now: float) -> Effect:
        flow = held.line.flow
        self._let_go(held, now)
        if isinstance(verdict, Placed):
            return self._dispatched(held.item, band, flow, verdict, held.arrived_at, now)
        self._outcomes[Outcome.EVICTED_OTHER, band.priority] += 1
        return Failed(held.item.id, verdict, now - held.arrived_at)

    def _dispatched(
        self, item: Item, band: Band, flow: Flow, placed: Placed, arrived_at: float, now: float
    ) -> Dispatched:
        cost = band.shares.cost(item.prompt_tokens, placed.uncached_tokens, placed.output_tokens)
        record = InFlight(band, flow, cost, now)
        record.prompt_tokens = item.prompt_tokens
        record.uncached_tokens, record.output_tokens = placed.uncached_tokens, placed.output_tokens
        record.victim = self._revocation.track(item.id, item.priority, now)
        self._inflight[item.id] = record
        band.inflight += 1
        flow.inflight += 1
        band.shares.dispatched(flow, cost, now)
        band.charged(flow, now)
        band.settle(flow, now)
        self._bands.served(band, placed.uncached_tokens + 2.0 * placed.output_tokens, now)
        self._left += 1
        self._drained.count(now)
        self._outcomes[Outcome.DISPATCHED, item.priority] += 1
        return Dispatched(item.id, placed.decision, now - arrived_at)

    def _revoked(self, now: float) -> list[Effect]:
        """Decide whether requests in flight are given up for the highest band that waits."""
        if self._stopped or self._budgets.empty or not self._revocation.wanted(now):
            return []
        band = self._bands.highest_waiting()
        if band is None:
            return []
        ceiling, inflight = self._bands.ceiling(band), len(self._inflight)
        chosen = self._revocation.decide(band.priority, ceiling, self._saturation(), inflight, now)
        return [EvictInFlight(request) for request in chosen]

    def _rejected(self, item: Item, why: Outcome, now: float) -> Rejected:
        self._outcomes[why, item.priority] += 1
        return Rejected(item.id, why, self._retry_after(item.priority, why, now))

    def _evicted(self, held: Held, why: Outcome, now: float) -> Evicted:
        self._let_go(held, now)
        priority = held.item.priority
        self._outcomes[why, priority] += 1
        return Evicted(held.item.id, why, now - held.arrived_at, self._retry_after(priority, why, now))

    def _retry_after(self, priority: int, why: Outcome, now: float) -> int | None:
        if why not in (Outcome.REJECTED_CAPACITY, Outcome.EVICTED_TTL):
            return None
        return self._drained.retry_after_seconds(self._bands.ahead(priority) + 1, now)
