"""Counters and histograms that cost a list access to write, and become Prometheus metrics when the page is asked for.

A request writes about fifteen of them. `prometheus_client`'s own take a lock and a linear search each, about 2 us, which was a quarter
of a request's work in the picker; its text format and registry are used unchanged. One event loop writes, so nothing is locked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

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


class Counter(Collector):
    """A family of counters, one per combination of label values; without labels it is its only series."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._series: dict[tuple[str, ...], Count] = {}
        if not labels:
            self.inc = self.labels().inc
        registry.register(self)

    def labels(self, *values: object) -> Count:
        """Return the series with these label values."""
        key = tuple(map(str, values))
        series = self._series.get(key)
        if series is None:
            _check(self._name, self._labels, key)
            series = self._series[key] = Count()
        return series

    def collect(self) -> Iterable[Metric]:
        """Yield the family as it is now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for key, series in self._series.items():
            family.add_metric(key, series.value)
        yield family


class Histogram(Collector):
    """A family of histograms, one per combination of label values; without labels it is its only series."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._bounds = tuple(float(bound) for bound in bounds)
        self._names = [*map(floatToGoString, self._bounds), "+Inf"]
        self._series: dict[tuple[str, ...], Tally] = {}
        if not labels:
            self.observe = self.labels().observe
        registry.register(self)

    def labels(self, *values: object) -> Tally:
        """Return the series with these label values."""
        key = tuple(map(str, values))
        series = self._series.get(key)
        if series is None:
            _check(self._name, self._labels, key)
            series = self._series[key] = Tally(self._bounds)
        return series

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


def _check(name: str, labels: tuple[str, ...], values: tuple[str, ...]) -> None:
    if len(labels) != len(values):
        raise ValueError(f"{name} has the labels {labels}, but was given {values}")
