"""Carries out, on the virtual clock, what the engine of flow control decides. In real time that is `flow.waiting`; who decides is the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from igw.flow.api import Claim, Effect, EvictInFlight, Item
from igw.flow.engine import Engine
from igw.lab.clock import VirtualClock

NEWS_SECONDS = 0.02
"""Scrapes within this time lead to one look at who waits, as in the product."""

Told = Callable[[Effect], None]
"""Told how the waiting of one request has ended, perhaps before it has begun."""


class Waiting:
    """Who waits at one picker. Nobody is asked at regular times: only after events, and when something falls due."""

    def __init__(self, engine: Engine, clock: VirtualClock, next_due: Callable[[float], float]) -> None:
        """Take the engine, and what says when room may appear by itself, without an event: infinity for never."""
        self._engine = engine
        self._clock = clock
        self._next_due = next_due
        self._told: dict[int, Told] = {}
        self._planned = self._news = False
        self._timer_at = math.inf

    def place(self, item: Item, claim: Claim, told: Told) -> None:
        """Find *item* its place, now or later."""
        self._told[item.id] = told
        self._carry_out(self._engine.arrive(item, claim, self._clock.now))

    def changed(self) -> None:
        """Look whether somebody can go, once for all that happens at this instant."""
        if not len(self._engine):
            self._engine.changed(self._clock.now)
        elif not self._planned:
            self._planned = True
            self._clock.at(self._clock.now, self._look)

    def scraped(self) -> None:
        """Look soon: what a server has said may mean that there is room."""
        if len(self._engine) and not self._news:
            self._news = True
            self._clock.after(NEWS_SECONDS, self._hear)

    def first_token(self, request: int) -> None:
        """Note that an answer has begun."""
        self._engine.first_token(request)
        self.changed()

    def ended(self, request: int, uncached_tokens: float | None, output_tokens: float | None) -> None:
        """Note that a request in flight has ended, and what it took."""
        self._engine.ended(
            request, self._clock.now, uncached_tokens=uncached_tokens, output_tokens=output_tokens
        )
        self.changed()

    def pool_changed(self, endpoints: int) -> None:
        """Note how many endpoints there are."""
        self._carry_out(self._engine.pool_changed(endpoints, self._clock.now))

    def _hear(self) -> None:
        self._news = False
        self.changed()

    def _look(self) -> None:
        self._planned = False
        self._carry_out(self._engine.changed(self._clock.now))

    def _fall_due(self, due: float) -> None:
        if due != self._timer_at:  # there was an earlier one in between
            return
        self._timer_at = math.inf
        now = self._clock.now
        self._carry_out([*self._engine.expire(now), *self._engine.changed(now)])

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            # A server of the lab cannot be told to stop: what is in flight stays there.
            if not isinstance(effect, EvictInFlight):
                self._told.pop(effect.id)(effect)
        self._arm()

    def _arm(self) -> None:
        if not len(self._engine):
            self._timer_at = math.inf
            return
        now = self._clock.now
        due = min(self._engine.next_deadline(now), self._next_due(now))
        if due != self._timer_at:
            self._timer_at = due
            if due != math.inf:
                self._clock.at(due, self._fall_due, due)
