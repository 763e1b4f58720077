"""Times plugins, by wrapping them at build time; the scheduler does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Picker, Scorer
from igw.scheduling.scheduler import Scheduler

Observe = Callable[[float], None]
Series = Callable[[str, str, str], Observe]
"""(extension point, plugin type, plugin name) -> where seconds are written."""


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

    def pick(self, totals: Column, /) -> Sequence[int]:
        """Pick as the wrapped picker does."""
        start = self._clock()
        try:
            return self._inner.pick(totals)
        finally:
            self._observe(self._clock() - start)


def observed(scheduler: Scheduler, series: Series, clock: Callable[[], float]) -> Scheduler:
    """Return *scheduler* with every plugin timed."""
    scorers = tuple(
        msgspec.structs.replace(
            weighted,
            scorer=TimedScorer(weighted.scorer, series("Scorer", weighted.scorer.type, weighted.name), clock),
        )
        for weighted in scheduler.scorers
    )
    picker = scheduler.picker
    return Scheduler(scorers, TimedPicker(picker, series("Picker", picker.type, picker.type), clock))
