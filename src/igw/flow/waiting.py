"""The waiting itself: a future per request that has to, one timer for all. Who waits how long is decided in `engine`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any

from igw.flow.answers import answer
from igw.flow.api import Claim, Dispatched, Effect, EvictInFlight, Failed, Item
from igw.flow.engine import Engine
from igw.flow.statistics import Standing, Statistics


class Waiting:
    """Carries out what the engine of one pool decides. Owner of the futures and of the timer."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        *,
        evict: Callable[[int], None],
        abandoned: Callable[[Any], None],
        next_change: Callable[[float], float] = lambda _now: math.inf,
    ) -> None:
        """Take the clock that items' times are on, how a request in flight is ended, and who takes back a decision that nobody awaits.

        The latter happens when a client leaves in the moment its decision is made: it is reserved and will not be used.
        *next_change* says when there may be room of which nobody tells, by what is known now; always later than the time it is given.
        """
        self._engine = engine
        self._clock = clock
        self._evict = evict
        self._abandoned = abandoned
        self._waiters: dict[int, asyncio.Future[Effect]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._next_change = next_change
        self._change_at = math.inf
        self._pass: asyncio.Handle | None = None
        self._emptied: asyncio.Event = asyncio.Event()

    async def place(self, item: Item, claim: Claim) -> Dispatched:
        """Return once *item* has its place, at once where there is room.

        Raises:
            Rejected: it is turned away, or has waited too long.
            Exception: what its claim raised.
        """
        effects = self._engine.arrive(item, claim, self._clock())
        if len(effects) == 1 and effects[0].id == item.id:  # the common case: nobody waits
            return _result(effects[0])
        own = next((each for each in effects if each.id == item.id), None)
        self._carry_out(each for each in effects if each is not own)
        if own is None:
            own = await self._wait(item.id)
        return _result(own)

    async def _wait(self, request: int) -> Effect:
        future: asyncio.Future[Effect] = asyncio.get_running_loop().create_future()
        self._waiters[request] = future
        self._arm()
        try:
            return await future
        except asyncio.CancelledError:
            self._waiters.pop(request, None)
            if future.done() and not future.cancelled():
                self._give_back(future.result())
            else:
                self._carry_out(self._engine.cancel(request, self._clock()))
            raise

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._engine)

    def changed(self) -> None:
        """Look soon whether somebody can go: something has ended, begun or been scraped. Many calls at once are one look."""
        if not len(self._engine):
            self._engine.changed(self._clock())
        elif self._pass is None:
            self._pass = asyncio.get_running_loop().call_soon(self._look)

    def first_token(self, request: int) -> None:
        """Note that an answer has begun."""
        self._engine.first_token(request)
        self.changed()

    def ended(
        self, request: int, *, uncached_tokens: float | None = None, output_tokens: float | None = None
    ) -> None:
        """Note that a request in flight has ended, and what it took."""
        self._engine.ended(
            request, self._clock(), uncached_tokens=uncached_tokens, output_tokens=output_tokens
        )
        self.changed()

    def pool_changed(self, endpoints: int) -> None:
        """Note how many endpoints there are."""
        self._carry_out(self._engine.pool_changed(endpoints, self._clock()))

    def stop(self) -> None:
        """Turn everybody away, now and from now on. To be called when draining has taken long enough, not when it begins."""
        self._carry_out(self._engine.stop(self._clock()))
        if self._pass is not None:
            self._pass.cancel()
            self._pass = None

    async def emptied(self) -> None:
        """Return once nobody waits."""
        self._emptied.clear()
        if len(self._engine):
            await self._emptied.wait()

    def standing(self, request: int) -> Standing | None:
        """Return where a request stands; None if it does not wait."""
        return self._engine.standing(request, self._clock())

    def statistics(self) -> Statistics:
        """Return a picture of this moment."""
        return self._engine.statistics(self._clock())

    def _look(self) -> None:
        self._pass = None
        self._carry_out(self._engine.changed(self._clock()))

    def _expire(self) -> None:
        now, self._timer, self._timer_at = self._clock(), None, math.inf
        effects = self._engine.expire(now)
        if self._change_at <= now:
            effects += self._engine.changed(now)
        self._carry_out(effects)

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, EvictInFlight):
                self._evict(effect.id)
                continue
            future = self._waiters.pop(effect.id, None)
            if future is not None and not future.done():
                future.set_result(effect)
            else:
                self._give_back(effect)
        self._arm()

    def _give_back(self, effect: Effect) -> None:
        if isinstance(effect, Dispatched):
            self._abandoned(effect.decision)

    def _arm(self) -> None:
        if not len(self._engine):
            self._emptied.set()
        now = self._clock()
        self._change_at = self._next_change(now) if len(self._engine) else math.inf
        deadline = min(self._engine.next_deadline(now), self._change_at)
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = deadline
        if deadline != math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - now), self._expire)


def _result(effect: Effect) -> Dispatched:
    if isinstance(effect, Dispatched):
        return effect
    if isinstance(effect, Failed):
        raise effect.error
    if isinstance(effect, EvictInFlight):
        raise TypeError("a request that waits is not in flight")
    raise answer(effect.outcome, effect.retry_after_seconds)
