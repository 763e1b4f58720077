"""The text of a metrics page, from a dialect and the engines behind it. Knows no engine's names.

Written by hand because many servers in one process are scraped many times a second: what does not change between two
scrapes is not written again. The format is Prometheus' text exposition 0.0.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.utils import floatToGoString

from igw.simulator.engine.config import Statistics
from igw.simulator.metrics.families import Block, Dialect, Distribution, Family, Labels, Rank, Reading
from igw.simulator.metrics.histograms import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Page:
    """The page of one server, whose engines are *ranks*, with *more* at its end.

    ValueError when there are several engines and the dialect cannot tell them apart.
    """

    def __init__(
        self, dialect: Dialect, model: str, ranks: Sequence[Rank], more: Sequence[Block] = ()
    ) -> None:
        if len(ranks) > 1 and not dialect.ranks:
            raise ValueError("this dialect has no label for data-parallel ranks")
        self._ranks = ranks
        self._blocks: list[Block] = []
        for family in dialect.families:
            if isinstance(family, Distribution):
                self._blocks.append(_Histograms(family, dialect.labels, model, ranks))
            else:
                self._blocks.append(_scalars(family, dialect.labels, model, ranks))
        self._blocks += [*dialect.blocks(model, ranks), *more]

    def render(self, now: Sequence[Statistics], wall_seconds: float, sleep_level: int = 1) -> bytes:
        """Return the exposition of an instant; *now* has one entry per rank, in order.

        `sleep_level` (1 or 2) is that of engines which sleep; the others are at level 0.
        """
        readings = [
            Reading(
                statistics,
                rank.histograms,
                rank.config,
                sleep_level if statistics.asleep else 0,
                wall_seconds,
            )
            for statistics, rank in zip(now, self._ranks, strict=True)
        ]
        return "".join([block(readings) for block in self._blocks]).encode()


def head(name: str, kind: str, text: str) -> str:
    """Return the two lines a family starts with."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def written(name: str, labels: Mapping[str, str]) -> str:
    """Return a series' name with its labels in alphabetical order, and the blank before its value."""
    if not labels:
        return f"{name} "
    return name + "{" + ",".join(f'{key}="{_escaped(labels[key])}"' for key in sorted(labels)) + "} "


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _scalars(family: Family, labels: Labels, model: str, ranks: Sequence[Rank]) -> Block:
    first = head(family.name, family.kind, family.text)
    if family.whole:
        own = labels(model, None)
        sums = [(written(family.name, {**own, **each.labels}), each.value) for each in family.series]

        def add(readings: Sequence[Reading]) -> str:
            return first + "".join([f"{start}{float(sum(map(value, readings)))}\n" for start, value in sums])

        return add

    lines = [
        (written(family.name, {**labels(model, rank.number), **each.labels}), each.value, index)
        for index, rank in enumerate(ranks)
        for each in family.series
    ]

    def write(readings: Sequence[Reading]) -> str:
        return first + "".join([f"{start}{float(value(readings[index]))}\n" for start, value, index in lines])

    return write


class _Histograms:
    """Writes a histogram family of all engines; what was not observed since is not written again."""

    def __init__(self, family: Distribution, labels: Labels, model: str, ranks: Sequence[Rank]) -> None:
        self._head = head(family.name, "histogram", family.text)
        self._parts = [
            _Part(getattr(rank.histograms, name), family.name, {**labels(model, rank.number), **own})
            for rank in ranks
            for name, own in family.shown
        ]

    def __call__(self, _readings: Sequence[Reading]) -> str:
        return self._head + "".join([part.text() for part in self._parts])


class _Part:
    def __init__(self, histogram: Histogram, name: str, labels: Mapping[str, str]) -> None:
        self._histogram = histogram
        self._starts = _starts(name, labels, histogram)
        self._changes = -1
        self._text = ""

    def text(self) -> str:
        if self._changes != self._histogram.changes:
            self._changes = self._histogram.changes
            self._text = "".join(_filled(self._starts, self._histogram))
        return self._text


def histogram_lines(name: str, labels: Mapping[str, str], histogram: Histogram) -> list[str]:
    """Return the lines of a histogram: buckets, count and sum."""
    return _filled(_starts(name, labels, histogram), histogram)


def _starts(name: str, labels: Mapping[str, str], histogram: Histogram) -> list[str]:
    bounds = (*map(floatToGoString, histogram.bounds), "+Inf")
    buckets = [written(f"{name}_bucket", {**labels, "le": bound}) for bound in bounds]
    return [*buckets, written(f"{name}_count", labels), written(f"{name}_sum", labels)]


def _filled(starts: list[str], histogram: Histogram) -> list[str]:
    *buckets, count, sum_ = starts
    totals = list(histogram.cumulated())
    lines = [f"{start}{total}.0\n" for start, total in zip(buckets, totals, strict=True)]
    return [*lines, f"{count}{totals[-1]}.0\n", f"{sum_}{float(histogram.sum)}\n"]
