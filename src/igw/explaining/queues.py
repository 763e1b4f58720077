"""Stands around the queues of pools to learn who is turned away there: flow control says how it ended, and nothing of who it was."""

from __future__ import annotations

from collections.abc import Callable

from igw.errors import Rejected
from igw.explaining.record import asked
from igw.explaining.recorder import Recorder, Turned
from igw.flow.api import Dispatched, Item
from igw.flow.engine import Engine
from igw.flow.settings import Settings
from igw.flow.waiting import Waiting
from igw.routing.claims import Claim
from igw.routing.holding import Around
from igw.routing.router import Queue


class ExplainedQueues:
    """What stands around queues, with one more thing around it (`igw.routing.holding.Around`)."""

    def __init__(self, inner: Around, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._recorder = recorder
        self._clock = clock

    def engine(self, pool: str, settings: Settings, saturation: Callable[[], float], /) -> Engine:
        """Return what decides in the queue of *pool*."""
        return self._inner.engine(pool, settings, saturation)

    def queue(self, pool: str, queue: Waiting, /) -> Queue:
        """Return the queue of *pool* as requests meet it."""
        return _Explained(self._inner.queue(pool, queue), queue.__len__, self._recorder, self._clock)


class _Explained:
    def __init__(
        self, inner: Queue, waiting: Callable[[], int], recorder: Recorder, clock: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._waiting = waiting
        self._recorder = recorder
        self._clock = clock

    async def place(self, item: Item, claim: Claim, /) -> Dispatched:
        """Return once *item* has its place."""
        try:
            return await self._inner.place(item, claim)
        except Rejected as rejected:
            who, waited = asked(claim.request, claim.columns.pool.key), self._clock() - claim.received_at
            self._recorder.turned_away(rejected, Turned(who, waited, self._waiting()))
            raise
