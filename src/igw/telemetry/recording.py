"""Counters and histograms that cost a list access to write, and become Prometheus metrics when the page is asked for.

A request writes about fifteen of them. `prometheus_client`'s own take a lock and a linear search each, about 2 us, which was a quarter
of a request's work in the picker; its text format and registry are used unchanged. One event loop writes, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Count:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add *amount*."""
        self.value += amount


class Tally:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations per bucket, not cumulated; the last is above every bound."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


Series = TypeVar("Series", Count, Tally)


class _Family(Collector, Generic[Series]):
    """Series by label values, in the order of the family's labels; made by *make* when first asked for."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        make: Callable[[], Series],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._make: Callable[[], Series] = make
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: object) -> Series:
        """Return the series with these label values."""
        key = tuple(map(str, values))
        series = self._series.get(key)
        if series is None:
            if len(key) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}, but was given {key}")
            series = self._series[key] = self._make()
        return series


class Counter(_Family[Count]):
    """A family of counters; without labels it is its only series."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(name, text, labels, Count, registry)
        if not labels:
            self.inc = self.labels().inc

    def collect(self) -> Iterable[Metric]:
        """Yield the family as it is now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for key, series in self._series.items():
            family.add_metric(key, series.value)
        yield family


class Histogram(_Family[Tally]):
    """A family of histograms; without labels it is its only series."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        finite = tuple(map(float, bounds))
        self._names = [*map(floatToGoString, finite), "+Inf"]
        super().__init__(name, text, labels, partial(Tally, finite), registry)
        if not labels:
            self.observe = self.labels().observe

    def collect(self) -> Iterable[Metric]:
        """Yield the family as it is now."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for key, series in self._series.items():
            sofar, buckets = 0, []
            for name, count in zip(self._names, series.counts, strict=True):
                sofar += count
                buckets.append((name, float(sofar)))
            family.add_metric(key, buckets, series.total)
        yield family
