"""Times plugins, by wrapping them at build time; the scheduler does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask, Picker, Scorer
from igw.scheduling.profile import Profile
from igw.scheduling.scheduler import Scheduler

Observe = Callable[[float], None]
Series = Callable[[str, str, str], Observe]
"""(extension point, plugin type, plugin name) -> where seconds are written."""


class TimedFilter:
    """A filter that takes the same time and says how long."""

    def __init__(self, inner: Filter, observe: Observe, clock: Callable[[], float]) -> None:
        self.type = inner.type
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


def observed(scheduler: Scheduler, series: Series, clock: Callable[[], float]) -> Scheduler:
    """Return *scheduler* with every plugin timed."""
    profiles = {name: _observed(profile, series, clock) for name, profile in scheduler.profiles.items()}
    return replace(scheduler, profiles=profiles)


def _observed(profile: Profile, series: Series, clock: Callable[[], float]) -> Profile:
    picker = profile.picker
    return Profile(
        scorers=tuple(
            replace(
                each, scorer=TimedScorer(each.scorer, series("Scorer", each.scorer.type, each.name), clock)
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
