"""Counters and histograms that cost a list access to write, and become Prometheus metrics when the page is asked for.

A request writes about fifteen of them. `prometheus_client`'s own take a lock and a linear search each, about 2 us, which was a quarter
of a request's work in the picker; its registry is used unchanged. One event loop writes, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import ClassVar, Generic, Self, TypeVar

from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from igw.telemetry.exposition import Lined, labels_text, number


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add *amount*."""
        self.value += amount

    def add(self, other: Count) -> None:
        """Add another series."""
        self.value += other.value


_traced: tuple[str, float] | None = None
"""Trace and time (seconds since 1970) of what is observed now, where it has a trace."""


@contextmanager
def exemplified(trace_id: str, now: float) -> Iterator[None]:
    """Keep what histograms observe within the block as exemplars of that trace. It must not await."""
    global _traced  # noqa: PLW0603 - one event loop writes, and what is observed need not know of traces
    _traced = (trace_id, now)
    try:
        yield
    finally:
        _traced = None


class Tally:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.exemplars: dict[int, Exemplar] = {}
        """The latest of each bucket, by its number."""
        self.counts = [0] * (len(bounds) + 1)
        """Observations per bucket, not cumulated; the last is above every bound."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        bucket = bisect_left(self._bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if _traced is not None:
            self.exemplars[bucket] = Exemplar({"trace_id": _traced[0]}, value, _traced[1])

    def add(self, other: Tally) -> None:
        """Add another series."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


Series = TypeVar("Series", Count, Tally)


class _Family(Collector, Generic[Series]):
    """Series by label values, in the order of the family's labels; made by *make* when first asked for."""

    type: ClassVar[str]

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        make: Callable[[], Series],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._text, self.names = name, text, tuple(labels)
        self._make: Callable[[], Series] = make
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield the family as it is now."""
        yield Lined(self._name.removesuffix("_total"), self._text, self.type, self)

    def samples(self) -> Iterator[Sample]:
        """Yield what every series says."""
        raise NotImplementedError

    def lines(self, exemplars: bool = False) -> Iterator[str]:
        """Yield the same as lines of the page."""
        raise NotImplementedError

    def labels(self, *values: str) -> Series:
        """Return the series with these label values."""
        series = self._series.get(values)
        if series is None:
            if len(values) != len(self.names):
                raise ValueError(f"{self._name} has the labels {self.names}, but was given {values}")
            series = self._series[values] = self._make()
        return series

    def under(self, name: str, labels: Mapping[str, str]) -> Self:
        """Return the family under another *name* with *labels*, its own by theirs; series that only others tell apart are added up."""
        other = copy(self)
        other._name, other.names, other._series = name, tuple(labels), {}
        at = [self.names.index(each) for each in labels.values()]
        for key, series in self._series.items():
            other.labels(*[key[each] for each in at]).add(series)
        return other

    def forget(self, values: Mapping[str, str]) -> None:
        """Drop the series that have all of these label values. Who holds one writes into nothing from now on."""
        if len(values) == len(self.names):
            self._series.pop(tuple([values[name] for name in self.names]), None)
            return
        wanted = [(self.names.index(name), value) for name, value in values.items()]
        for key in [key for key in self._series if all(key[at] == value for at, value in wanted)]:
            del self._series[key]


class Counter(_Family[Count]):
    """A family of counters; without labels it is its only series."""

    type = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(name, text, labels, Count, registry)
        if not labels:
            self.inc = self.labels().inc

    def samples(self) -> Iterator[Sample]:
        """Yield what every series says."""
        for key, series in self._series.items():
            yield Sample(self._name, dict(zip(self.names, key, strict=True)), series.value)

    def lines(self, _exemplars: bool = False) -> Iterator[str]:
        """Yield the lines of every series."""
        for key, series in self._series.items():
            yield f"{self._name}{labels_text(self.names, key)} {number(series.value)}\n"


class Histogram(_Family[Tally]):
    """A family of histograms; without labels it is its only series."""

    type = "histogram"

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        finite = tuple(map(float, bounds))
        self._bounds = [*map(floatToGoString, finite), "+Inf"]
        super().__init__(name, text, labels, partial(Tally, finite), registry)
        if not labels:
            self.observe = self.labels().observe

    def samples(self) -> Iterator[Sample]:
        """Yield what every series says: buckets, count and sum."""
        for key, series in self._series.items():
            labels, sofar = dict(zip(self.names, key, strict=True)), 0
            for bucket, (bound, count) in enumerate(zip(self._bounds, series.counts, strict=True)):
                sofar += count
                noted = series.exemplars.get(bucket)
                yield Sample(f"{self._name}_bucket", {**labels, "le": bound}, float(sofar), None, noted)
            yield Sample(f"{self._name}_count", labels, float(sofar))
            yield Sample(f"{self._name}_sum", labels, series.total)

    def lines(self, exemplars: bool = False) -> Iterator[str]:
        """Yield the lines of every series."""
        name, ends = self._name, [f'{bound}"}} ' for bound in self._bounds]
        for key, series in self._series.items():
            braced, sofar = labels_text(self.names, key), 0
            bucket = f'{name}_bucket{braced[:-1]},le="' if braced else f'{name}_bucket{{le="'
            lines = []
            for end, count in zip(ends, series.counts, strict=True):
                sofar += count
                lines.append(f"{bucket}{end}{sofar}\n")
            for at, noted in series.exemplars.items() if exemplars else ():
                lines[at] = f"{lines[at][:-1]} {_written(noted)}\n"
            yield "".join(lines)
            yield f"{name}_count{braced} {sofar}\n{name}_sum{braced} {number(series.total)}\n"


def _written(noted: Exemplar) -> str:
    return f'# {{trace_id="{noted.labels["trace_id"]}"}} {number(noted.value)} {noted.timestamp}'
