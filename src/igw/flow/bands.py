"""The priorities of one pool, made when they are first asked for: which is next, and how full the pool may get for which.

What waits in one of them is `band`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping

from igw.flow.api import Turn
from igw.flow.band import Band
from igw.flow.demand import Demand
from igw.flow.settings import Settings

_IDLE_SECONDS = 600.0
_MOST_CREDIT_TOKENS = 100_000.0
"""Work that a minimum share can save up, or overdraw, while nothing of the others fits anywhere."""


class Bands:
    """All bands, highest priority first. There are few: they are looked at one by one."""

    def __init__(self, settings: Settings, saturation: Callable[[], float]) -> None:
        """Take the settings, and how full the pool is, for limits that go by it."""
        self._settings = settings
        self._saturation = saturation
        self._headroom = settings.limit.headroom
        self._demands: dict[int, Demand] = {}
        """By priority, of those that room is kept for; none while there is nobody to keep it from."""
        self._bands: list[Band] = []
        self._by_priority: dict[int, Band] = {}
        self._ceilings: dict[int, float] = {}
        self._turn = 0
        self._shared = False
        for priority in settings.bands:
            self.of(priority, 0.0)

    def __iter__(self) -> Iterator[Band]:
        return iter(self._bands)

    def of(self, priority: int, now: float) -> Band:
        """Return the band of *priority*; a new one is made from its template."""
        found = self._by_priority.get(priority)
        if found is not None:
            return found
        self._forget_idle(now)
        settings = self._settings.band_of(priority)
        band = self._by_priority[priority] = Band(priority, settings)
        band.idle_since = now
        self._shared = self._shared or settings.minimum_share > 0
        self._bands = sorted(self._by_priority.values(), key=lambda each: -each.priority)
        self._ceilings.clear()
        self._keep_headroom()
        return band

    def _keep_headroom(self) -> None:
        headroom, bands = self._headroom, self._bands
        if headroom is None or bands[-1].priority >= headroom.below:
            self._demands = {}
            return
        self._demands = {
            band.priority: self._demands.get(band.priority) or Demand(headroom.window_seconds)
            for band in bands
            if band.priority >= headroom.below
        }

    def _forget_idle(self, now: float) -> None:
        for band in self._bands:
            busy = band.waiting or band.inflight or band.priority in self._settings.bands
            if not busy and now - band.idle_since >= _IDLE_SECONDS:
                del self._by_priority[band.priority]

    def begin_turn(self, turn: int) -> None:
        """Begin pass number *turn*: ceilings are asked for anew."""
        self._turn = turn
        self._ceilings.clear()

    def ceiling(self, band: Band) -> float:
        """Return how full the pool may get for *band* in this pass."""
        if not self._ceilings:
            limit = self._settings.limit
            saturation = self._saturation() if limit.needs_saturation else 0.0
            priorities = [each.priority for each in self._bands]
            ceilings = limit.ceilings(priorities, saturation, self._turn)
            self._ceilings = dict(zip(priorities, ceilings, strict=True))
        return self._ceilings[band.priority]

    def wants(self, band: Band, now: float) -> None:
        """Note how many requests *band* now has in flight or wants to."""
        if band.priority in self._demands:
            self._demands[band.priority].note(band.inflight + band.waiting, now)

    def turn(self, band: Band, closed: tuple[Hashable, ...], now: float) -> Turn:
        """Return what a request of *band* is to be told in this pass; no more than it has to know."""
        ceiling, headroom = self.ceiling(band), self._headroom
        if headroom is None or band.priority >= headroom.below:
            return Turn(ceiling, closed)
        kept = 0
        for priority, demand in self._demands.items():
            other = self._by_priority[priority]
            self.wants(other, now)  # whoever gave up waiting did not tell
            kept += max(0, demand.most(now) - other.inflight)
        return Turn(ceiling, closed, kept, headroom.max_share)

    def next(self, rings: Mapping[int, deque[Hashable]]) -> Band | None:
        """Return who is next of those with something in their ring: whoever is furthest behind its minimum share, else the highest."""
        asking = [band for band in self._bands if rings.get(band.priority)]
        if not asking:
            return None
        if self._shared:
            behind = max(asking, key=lambda band: band.credit)
            if behind.credit > 0:
                return behind
        return asking[0]

    def highest_waiting(self) -> Band | None:
        """Return the highest band in which something waits: empty ones never stand in anybody's way."""
        return next((band for band in self._bands if band.waiting), None)

    def ahead(self, priority: int) -> int:
        """Return how many wait at *priority* and above."""
        return sum(band.waiting for band in self._bands if band.priority >= priority)

    def served(self, served: Band, work: float, now: float) -> None:
        """Give every band that waits its minimum share of *work*, in tokens, and take it from the one that was served."""
        if self._demands:
            self.wants(served, now)
        if self._settings.limit.needs_saturation:
            self._ceilings.clear()
        if not self._shared:
            return
        for band in self._bands:
            share = band.settings.minimum_share
            if share and (band.waiting or band is served):
                band.credit = min(_MOST_CREDIT_TOKENS, band.credit + share * work)
        if served.settings.minimum_share:
            served.credit = max(-_MOST_CREDIT_TOKENS, served.credit - work)
