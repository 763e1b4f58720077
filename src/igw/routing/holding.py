"""The queues of all pools: made from settings, kept over edits, told of whatever may have made room. How one works is `flow`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from igw.decision import Decision
from igw.flow.engine import Engine
from igw.flow.settings import Settings
from igw.flow.statistics import Statistics
from igw.flow.waiting import Waiting
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.routing.pools import Pools
from igw.routing.router import Queue, Router
from igw.scheduling.filters.role import LABEL, DecodeFilter, PrefillFilter

_NEWS_SECONDS = 0.02
"""Scrapes within this time lead to one look at the queue: in a large pool there are more of them than looks could be taken."""


class Around(Protocol):
    """What stands around the queues: measuring, and what requests meet before them."""

    def engine(self, pool: str, settings: Settings, saturation: Callable[[], float], /) -> Engine:
        """Return what decides in the queue of *pool* (`namespace/name`)."""
        ...

    def queue(self, pool: str, queue: Waiting, /) -> Queue:
        """Return the queue of *pool* as requests meet it."""
        ...


class Bare:
    """Nothing around them."""

    def engine(self, _pool: str, settings: Settings, saturation: Callable[[], float], /) -> Engine:
        """Return a plain engine."""
        return Engine(settings, saturation)

    def queue(self, _pool: str, queue: Waiting, /) -> Queue:
        """Return *queue*."""
        return queue


STAGES: Mapping[str, tuple[frozenset[str], bool]] = {
    "prefill": (PrefillFilter.roles, PrefillFilter.unlabelled),
    "decode": (DecodeFilter.roles, DecodeFilter.unlabelled),
}
"""Stage -> roles that belong to it, and whether endpoints without a role do, as upstream has them."""


class Holding:
    """Owner of one queue per pool, and of those that an edit has replaced, as long as something waits there."""

    def __init__(
        self,
        router: Router,
        pools: Pools,
        ledger: Ledger,
        clock: Callable[[], float],
        evict: Callable[[int], None],
        around: Around = Bare(),  # noqa: B008 (it has no state)
    ) -> None:
        """Take how a request in flight is ended (by decision), and what is to be put around each queue that the router gets."""
        self._router = router
        self._pools = pools
        self._ledger = ledger
        self._clock = clock
        self._evict = evict
        self._around = around
        self._settings: Settings | None = None
        self._queues: dict[str, Waiting] = {}
        self._replaced: list[tuple[str, Waiting]] = []
        self._news: dict[str, asyncio.TimerHandle] = {}
        ledger.listen(self.ended)

    def use(self, settings: Settings | None, *, when_empty: bool = False) -> None:
        """Let requests wait by *settings*, in the pools there are now; None: nobody waits.

        Queues stay as they are where the settings do; else who waits in them goes on waiting by the old ones.
        *when_empty*: whether they also wait for a pool that has no endpoints.
        """
        self._router.holds_when_empty = when_empty
        pools = {columns.pool.key: columns for columns in self._pools.all()}
        for key in [key for key in self._queues if key not in pools or settings != self._settings]:
            self._replaced.append((key, self._queues.pop(key)))
        self._replaced = [(key, queue) for key, queue in self._replaced if len(queue)]
        if settings is not None:
            for key in [key for key in pools if key not in self._queues]:
                self._queues[key] = self._queue(key, settings)
        self._settings = settings
        self._router.flows = {key: self._around.queue(key, queue) for key, queue in self._queues.items()}
        for key, queue in self._all():
            if key in pools:
                queue.pool_changed(len(pools[key].pool))
            else:
                queue.stop()

    def _queue(self, key: str, settings: Settings) -> Waiting:
        return Waiting(
            self._around.engine(key, settings, partial(self._saturation, key)),
            self._clock,
            evict=self._evict,
            abandoned=self._abandoned,
            next_change=partial(self._next_change, key),
        )

    def _saturation(self, key: str) -> float:
        columns = self._pools.columns_of(key)
        return 1.0 if columns is None else self._router.saturation(columns)

    def _next_change(self, key: str, now: float) -> float:
        columns = self._pools.columns_of(key)
        return float("inf") if columns is None else self._pools.promises_of(columns).next_due(now)

    def _abandoned(self, decision: Any) -> None:
        self._ledger.close(decision.id, Outcome(End.ABORTED))

    def _all(self) -> Iterator[tuple[str, Waiting]]:
        """Yield every queue; those that were replaced first, they have waited longer."""
        yield from self._replaced
        yield from self._queues.items()

    # What may have made room ------------------------------------------------------------------------------------

    def ended(self, decision: Decision, outcome: Outcome) -> None:
        """Note an end (ledger listener): what it took is charged to its tenant, and there may be room."""
        usage = outcome.usage
        uncached = None
        if usage.prompt_tokens is not None and usage.cached_tokens is not None:
            uncached = float(max(0, usage.prompt_tokens - usage.cached_tokens))
        output = None if usage.completion_tokens is None else float(usage.completion_tokens)
        # A pool may have another name by now, a decision has not: only the queue that it came from knows it.
        for _, queue in self._all():
            queue.ended(decision.id, uncached_tokens=uncached, output_tokens=output)

    def started(self, decision: Decision) -> None:
        """Note a first token: there may be room for another prefill."""
        for _, queue in self._all():
            queue.first_token(decision.id)

    def scraped(self, key: str) -> None:
        """Note that an endpoint of the pool *key* has said something."""
        if key not in self._news and any(len(queue) for name, queue in self._all() if name == key):
            self._news[key] = asyncio.get_running_loop().call_later(_NEWS_SECONDS, self._look, key)

    def _look(self, key: str) -> None:
        del self._news[key]
        for name, queue in self._all():
            if name == key:
                queue.changed()

    async def emptied(self) -> None:
        """Return once nobody waits."""
        for _, queue in list(self._all()):
            await queue.emptied()

    def stop(self) -> None:
        """Turn everybody away who still waits, and whoever comes."""
        for timer in self._news.values():
            timer.cancel()
        self._news.clear()
        for _, queue in self._all():
            queue.stop()

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(len(queue) for _, queue in self._all())

    def statistics(self) -> Mapping[str, Statistics]:
        """Return a picture of every queue, by pool (`namespace/name`)."""
        return {key: queue.statistics() for key, queue in self._queues.items()}

    def saturation(self) -> Iterator[tuple[str, str, float]]:
        """Yield how full every pool is that has a queue, as (pool, stage, value).

        Stage `effective` is all of it, and what flow control goes by; `prefill` and `decode` are the endpoints that do that.
        """
        for key in self._queues:
            yield key, "effective", self._saturation(key)
            columns = self._pools.columns_of(key)
            endpoints = columns.pool.endpoints if columns is not None else ()
            for stage, (roles, unlabelled) in STAGES.items():
                own = tuple(
                    each.hostport for each in endpoints if _belongs(each.labels.get(LABEL), roles, unlabelled)
                )
                if columns is not None and own:
                    yield key, stage, self._router.saturation(columns, own)

    def stale(self) -> tuple[str, int]:
        """Return what tells how full endpoints are, and how many of those in pools with a queue it knows nothing fresh of."""
        columns = [self._pools.columns_of(key) for key in self._queues]
        silent = sum(int((~each.reported).sum()) for each in columns if each is not None)
        return getattr(self._router.detector, "type", "room"), silent


def _belongs(role: str | None, roles: frozenset[str], unlabelled: bool) -> bool:
    return role in roles if role else unlabelled
