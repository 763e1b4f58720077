"""Measures queues from outside: how long requests wait, how long the queues take for what they do. What they look like is `queue_gauges`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from igw.errors import Rejected
from igw.flow.api import Claim as Asking
from igw.flow.api import Dispatched, Effect, Evicted, EvictInFlight, Item, Outcome
from igw.flow.api import Rejected as Turned
from igw.flow.engine import Engine
from igw.flow.settings import Settings
from igw.flow.waiting import Waiting
from igw.routing.claims import Claim
from igw.routing.router import Queue
from igw.telemetry import recording
from igw.telemetry.families import Families


class ObservedQueues:
    """Puts measuring around the queues of all pools (`igw.routing.holding.Around`)."""

    def __init__(self, families: Families, clock: Callable[[], float]) -> None:
        self._families = families
        self._clock = clock

    def engine(self, pool: str, settings: Settings, saturation: Callable[[], float]) -> Engine:
        """Return what decides in the queue of *pool*."""
        if settings.revocation is not None:
            return ObservedRevoking(settings, saturation, self._families, self._clock, pool)
        return ObservedEngine(settings, saturation, self._families, self._clock)

    def queue(self, pool: str, queue: Waiting) -> Queue:
        """Return the queue of *pool* as requests meet it."""
        return ObservedQueue(queue, pool, self._families, self._clock)


class ObservedQueue:
    """A queue that says how long requests have waited there, and how that ended."""

    def __init__(self, queue: Queue, pool: str, families: Families, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._pool = pool
        self._seconds = families.flow_control_request_queue_duration_seconds
        self._clock = clock
        self._labels = families.request_labels

    async def place(self, item: Item, claim: Claim, /) -> Dispatched:
        """Return once *item* has its place."""
        outcome, start = "EvictedOther", self._clock()
        try:
            placed = await self._queue.place(item, claim)
        except asyncio.CancelledError:
            outcome = "EvictedContextCancelled"
            raise
        except Rejected as rejected:
            outcome = rejected.queue_outcome or outcome
            raise
        else:
            outcome = _DISPATCHED
            self._series(claim, outcome).observe(placed.waited_seconds)
            return placed
        finally:
            if outcome != _DISPATCHED:
                self._series(claim, outcome).observe(self._clock() - start)

    def _series(self, claim: Claim, outcome: str) -> recording.Tally:
        model, target, flow, priority = self._labels.of(claim.request)
        return self._seconds.labels(flow, priority, outcome, self._pool, model, target)


class ObservedEngine(Engine):
    """The queues of one pool, which say how long they take for what they do."""

    def __init__(
        self,
        settings: Settings,
        saturation: Callable[[], float],
        families: Families,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(settings, saturation)
        self._clock = clock
        self._enqueued = families.flow_control_request_enqueue_duration_seconds
        self._cycle = families.flow_control_dispatch_cycle_duration_seconds.observe
        self._labels = families.request_labels

    def arrive(self, item: Item, claim: Asking, now: float) -> list[Effect]:
        """Take a request in."""
        start = self._clock()
        effects = super().arrive(item, claim, now)
        took = self._clock() - start
        outcome = _fate(item.id, effects) if effects else _ACCEPTED
        self._enqueued.labels(self._labels.flow(item.flow), str(item.priority), outcome).observe(took)
        return effects

    def changed(self, now: float) -> list[Effect]:
        """Look at who waits."""
        if not len(self):
            return super().changed(now)
        start = self._clock()
        effects = super().changed(now)
        self._cycle(self._clock() - start)
        return effects


class ObservedRevoking(ObservedEngine):
    """One that may give up what runs, and says how long that takes to happen."""

    def __init__(
        self,
        settings: Settings,
        saturation: Callable[[], float],
        families: Families,
        clock: Callable[[], float],
        pool: str,
    ) -> None:
        super().__init__(settings, saturation, families, clock)
        self._confirmed = families.flow_control_revocation_confirmation_seconds.labels(pool).observe
        self._timeout_seconds = settings.revocation.timeout_seconds if settings.revocation else 0.0
        self._revoked_at: dict[int, float] = {}

    def changed(self, now: float) -> list[Effect]:
        """Look at who waits."""
        return self._noted(super().changed(now), now)

    def expire(self, now: float) -> list[Effect]:
        """End what has taken too long."""
        return self._noted(super().expire(now), now)

    def ended(
        self,
        request: int,
        now: float,
        *,
        uncached_tokens: float | None = None,
        output_tokens: float | None = None,
    ) -> None:
        """Note that a request in flight has ended."""
        super().ended(request, now, uncached_tokens=uncached_tokens, output_tokens=output_tokens)
        since = self._revoked_at.pop(request, None)
        if since is not None and now - since <= self._timeout_seconds:  # later ones have timed out
            self._confirmed(now - since)

    def _noted(self, effects: list[Effect], now: float) -> list[Effect]:
        for effect in effects:
            if type(effect) is EvictInFlight:
                self._revoked_at[effect.id] = now
        return effects


_DISPATCHED = Outcome.DISPATCHED.value
_ACCEPTED = "NotYetFinalized"
"""Upstream's name for a request that waits."""


def _fate(request: int, effects: Iterable[Effect]) -> str:
    """Return what became of a request when it arrived."""
    for effect in effects:
        if effect.id == request:
            if isinstance(effect, Dispatched):
                return _DISPATCHED
            return (
                effect.outcome.value if isinstance(effect, Turned | Evicted) else Outcome.EVICTED_OTHER.value
            )
    return _ACCEPTED
