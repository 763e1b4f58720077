"""Metrics of the body-based router, under upstream's names (`bbr_*`) where upstream has one, and what times its plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from igw.errors import Rejected
from igw.payload.api import Changes, Message, Plugin
from igw.payload.builtin import Named
from igw.telemetry.recording import Counter, Histogram

_SECONDS = (.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1)  # fmt: skip
_EXTENSION_POINT = "request"


class Observer(Collector):
    """Counts what becomes of requests."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        """*clock* is for durations."""
        self._clock = clock
        self._success = Counter(
            "bbr_success_total", "Requests whose body was read and passed on.", (), registry
        )
        self._not_found = Counter(
            "bbr_body_field_not_found_total",
            "Bodies without a field that a plugin reads.",
            ("field",),
            registry,
        )
        self._empty = Counter(
            "bbr_body_field_empty_total",
            "Bodies with an empty field that a plugin reads.",
            ("field",),
            registry,
        )
        self._seconds = Histogram(
            "bbr_plugin_duration_seconds", "Time of one call of a plugin.",
            ("extension_point", "plugin_type", "plugin_name"), _SECONDS, registry,
        )  # fmt: skip
        self._rejected = Counter(
            "igw_bbr_rejected_total", "Requests that were answered in the model servers' place.", ("error_code",), registry
        )  # fmt: skip
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield what says which build this is."""
        info = GaugeMetricFamily("bbr_info", "Which build this is.", labels=("commit", "build_ref"))
        info.add_metric(("", version("igw")), 1)
        yield info

    def passed(self, changes: Changes) -> None:
        """Count a request that goes on."""
        self._success.inc()
        for field in changes.not_found:
            self._not_found.labels(field).inc()
        for field in changes.empty:
            self._empty.labels(field).inc()

    def rejected(self, rejected: Rejected) -> None:
        """Count a request that does not."""
        self._rejected.labels(rejected.code).inc()

    def timed(self, named: Named) -> Plugin:
        """Return a plugin that does the same, and whose calls are timed."""
        series = self._seconds.labels(_EXTENSION_POINT, named.type, named.name)
        return _Timed(named.plugin, series.observe, self._clock)


class _Timed:
    def __init__(self, plugin: Plugin, observe: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._plugin = plugin
        self._observe = observe
        self._clock = clock
        self.reads, self.writes = plugin.reads, plugin.writes

    def process(self, message: Message, /) -> Changes:
        begun = self._clock()
        try:
            return self._plugin.process(message)
        finally:
            self._observe(self._clock() - begun)
