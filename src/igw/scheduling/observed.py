"""Times plugins, by wrapping them at build time; the scheduler does not know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask, Picker, Producer, Scorer
from igw.scheduling.profile import Profile
from igw.scheduling.scheduler import Scheduler

Observe = Callable[[float], None]
Series = Callable[[str, str, str], Observe]
"""(extension point, plugin type, plugin name) -> where seconds are written."""
Failed = Callable[[str, str, str], None]
"""Told of (plugin type, plugin name, what is wrong)."""


class TimedFilter:
    """A filter that takes the same time and says how long."""

    def __init__(self, inner: Filter, observe: Observe, clock: Callable[[], float]) -> None:
        self.type = inner.type
        self.needs_work = getattr(inner, "needs_work", False)
        self._inner = inner
        self._observe = observe
        self._clock = clock

    def keep(self, request: Request, facts: Facts, /) -> Mask:
        """Keep what the wrapped filter does."""
        start = self._clock()
        try:
            return self._inner.keep(request, facts)
        finally:
            self._observe(self._clock() - start)


class TimedScorer:
    """A scorer that takes the same time and says how long."""

    def __init__(self, inner: Scorer, observe: Observe, clock: Callable[[], float]) -> None:
        self.type = inner.type
        self.needs_work = getattr(inner, "needs_work", False)
        self._inner = inner
        self._observe = observe
        self._clock = clock

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score as the wrapped scorer does."""
        start = self._clock()
        try:
            return self._inner.score(request, facts)
        finally:
            self._observe(self._clock() - start)


class TimedPicker:
    """A picker that says how long it took."""

    def __init__(self, inner: Picker, observe: Observe, clock: Callable[[], float]) -> None:
        self.type = inner.type
        self.needs_work = getattr(inner, "needs_work", False)
        self._inner = inner
        self._observe = observe
        self._clock = clock

    def pick(self, totals: Column, facts: Facts, /) -> Sequence[int]:
        """Pick as the wrapped picker does."""
        start = self._clock()
        try:
            return self._inner.pick(totals, facts)
        finally:
            self._observe(self._clock() - start)


class TimedProducer:
    """A producer that says how long it took."""

    def __init__(self, inner: Producer, observe: Observe, clock: Callable[[], float]) -> None:
        self.type = inner.type
        self._inner = inner
        self._observe = observe
        self._clock = clock

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Find out what the wrapped producer does."""
        start = self._clock()
        found = self._inner.produce(request, facts)
        if isinstance(found, Mapping):
            self._observe(self._clock() - start)
            return found
        return self._timed(found, start)

    async def _timed(self, found: Awaitable[Mapping[str, Any]], start: float) -> Mapping[str, Any]:
        try:
            return await found
        finally:
            self._observe(self._clock() - start)


def observed(
    scheduler: Scheduler, series: Series, clock: Callable[[], float], failed: Failed | None = None
) -> Scheduler:
    """Return *scheduler* with every plugin timed, and scores that have to be clamped told to *failed*."""
    profiles = {
        name: _observed(profile, series, clock, failed) for name, profile in scheduler.profiles.items()
    }
    producers = tuple(
        tuple(
            replace(
                each,
                producer=TimedProducer(
                    each.producer, series("DataProducer", each.producer.type, each.name), clock
                ),
            )
            for each in level
        )
        for level in scheduler.plugins.producers
    )
    return replace(scheduler, profiles=profiles, plugins=replace(scheduler.plugins, producers=producers))


def _observed(profile: Profile, series: Series, clock: Callable[[], float], failed: Failed | None) -> Profile:
    picker = profile.picker
    return Profile(
        scorers=tuple(
            replace(
                each,
                scorer=TimedScorer(each.scorer, series("Scorer", each.scorer.type, each.name), clock),
                out_of_range=partial(failed, each.scorer.type, each.name, "score") if failed else None,
            )
            for each in profile.scorers
        ),
        picker=TimedPicker(picker, series("Picker", picker.type, picker.type), clock),
        filters=tuple(
            replace(
                each, filter=TimedFilter(each.filter, series("Filter", each.filter.type, each.name), clock)
            )
            for each in profile.filters
        ),
    )
