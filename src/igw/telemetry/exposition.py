"""The metrics page: what a registry collects, in Prometheus' text format. What is collected is the rooms' business.

`prometheus_client` takes more than twice as long for the same page, and picks wait meanwhile.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4, and OpenMetrics 1.0.0, which has exemplars.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def asked(registry: Collector, accept: str) -> tuple[bytes, str]:
    """Return the page in the form that a header `Accept` asks for, and its content type."""
    openmetrics = any(
        each.partition(";")[0].strip() == "application/openmetrics-text" for each in accept.split(",")
    )
    return page(registry, openmetrics=openmetrics), OPENMETRICS if openmetrics else CONTENT_TYPE


def page(registry: Collector, *, openmetrics: bool = False) -> bytes:
    """Return everything that *registry* collects."""
    lines: list[str] = []
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" and not openmetrics else metric.name
        text = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
        if openmetrics:
            text = text.replace('"', r"\"")
        lines.append(f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n")
        lines.extend(metric.lines(openmetrics) if isinstance(metric, Lined) else _of_samples(metric))
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


class Source(Protocol):
    """What a metric is made from when it is asked for."""

    def samples(self) -> Iterator[Sample]:
        """Yield what it says, for programs."""
        ...

    def lines(self, exemplars: bool = False) -> Iterator[str]:
        """Yield the same as lines of the page, each with its end; with *exemplars*, if it has any and they are wanted."""
        ...


class Lined(Metric):
    """A metric that writes itself as lines, and makes samples only for who asks for them."""

    def __init__(self, name: str, text: str, kind: str, source: Source) -> None:
        super().__init__(name, text, kind)
        del self.samples
        self.source = source

    def __getattr__(self, name: str) -> list[Sample]:
        if name != "samples":
            raise AttributeError(name)
        self.samples = list(self.source.samples())
        return self.samples

    def lines(self, exemplars: bool = False) -> Iterator[str]:
        """Yield its lines, each with its end."""
        return self.source.lines(exemplars)


class Gauge:
    """A gauge that is read from state: series as tuples of label values, in the order of *labels*."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._series: list[tuple[tuple[str, ...], float]] = []

    def add(self, values: tuple[str, ...], value: float) -> None:
        """Add one series."""
        self._series.append((values, value))

    @property
    def metric(self) -> Metric:
        """What a collector yields."""
        return Lined(self._name, self._text, "gauge", self)

    def samples(self) -> Iterator[Sample]:
        """Yield what every series says."""
        for values, value in self._series:
            yield Sample(self._name, dict(zip(self._labels, values, strict=True)), value)

    def lines(self, _exemplars: bool = False) -> Iterator[str]:
        """Yield the lines of every series."""
        for values, value in self._series:
            yield f"{self._name}{labels_text(self._labels, values)} {number(value)}\n"


def labels_text(names: Sequence[str], values: Sequence[str]) -> str:
    """Return labels as they stand behind a name, braces included; nothing where there are none."""
    if not names:
        return ""
    return (
        "{"
        + ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])
        + "}"
    )


def number(value: float) -> str:
    """Return *value* as the format has it."""
    if math.isfinite(value):
        whole = int(value)
        return str(whole) if whole == value else repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _of_samples(metric: Metric) -> Iterator[str]:
    for sample in metric.samples:
        text = labels_text(tuple(sample.labels), tuple(sample.labels.values()))
        yield f"{sample.name}{text} {number(sample.value)}\n"


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value
