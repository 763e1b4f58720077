"""Spans on their way to a collector: a bounded queue, a thread that sends, counts of what went and what did not. What spans say is `spans`' business.

A collector that is slow or away costs spans, never a request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status
from prometheus_client.core import CounterMetricFamily, Metric

from igw.errors import ConfigError
from igw.tracing.settings import Settings

log = structlog.get_logger("tracing")

_SERVICE = "igw-epp"
"""Unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say otherwise."""
_MOST_WAITING = 2048
"""Spans."""
CLOSING_SECONDS = 2.0
_UNSET = Status()


class Counted(SpanExporter):
    """An exporter that says how many spans it got rid of, and how. Called by the sending thread only."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.exported = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send *spans*."""
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._inner.shutdown()


class Bounded(SpanProcessor):
    """Hands spans to a batching processor as long as it has room: it would drop those that wait longest, uncounted."""

    def __init__(self, exporter: Counted, most_waiting: int = _MOST_WAITING) -> None:
        self._exporter = exporter
        self._most_waiting = most_waiting
        self._batches = BatchSpanProcessor(exporter, max_queue_size=2 * most_waiting)
        self._taken = 0
        self.dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take *span* or drop it."""
        if self._taken - self._exporter.exported - self._exporter.failed >= self._most_waiting:
            self.dropped += 1
            return
        self._taken += 1
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Send what waits and stop. Blocks."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]


class _Told(logging.Handler):
    """What the library logs, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("spans_not_exported", problem=record.getMessage())


class Export:
    """Owner of the queue and its thread."""

    def __init__(self, settings: Settings, exporter: SpanExporter | None = None) -> None:
        """Send by *exporter* if given, else as *settings* say.

        Raises:
            ConfigError: what is installed cannot send.
        """
        library = logging.getLogger("opentelemetry")
        library.handlers, library.propagate = [_Told()], False
        self._exporter = Counted(exporter or _exporter(settings))
        self._queue = Bounded(self._exporter)
        self._resource = _resource()
        self._scope = InstrumentationScope("igw")

    def span(
        self,
        name: str,
        own: SpanContext,
        parent: SpanContext | None,
        interval_ns: tuple[int, int],
        attributes: Mapping[str, Any],
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status = _UNSET,
    ) -> None:
        """Send a span that is over; *interval_ns* since 1970. The library's own way, by a tracer, takes nine times as long."""
        self._queue.on_end(
            ReadableSpan(
                name, own, parent, self._resource, attributes, kind=kind, status=status, start_time=interval_ns[0],
                end_time=interval_ns[1], instrumentation_scope=self._scope,
            )
        )  # fmt: skip

    async def close(self) -> None:
        """Send what waits, as long as it takes but `CLOSING_SECONDS` at most."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._queue.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # A thread that nobody waits for at the end of the process, as those of an executor are.
        threading.Thread(target=shut_down, name="tracing-close", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await done.wait()
        except TimeoutError:
            log.warning("spans_left", problem="the collector does not take them in time")

    def collect(self) -> Iterable[Metric]:
        """Yield how many spans there were, by what became of them."""
        spans = CounterMetricFamily(
            "igw_trace_spans",
            "Spans, by what became of them: exported, failed (the collector did not take them), dropped (too many waited).",
            labels=("result",),
        )
        spans.add_metric(("exported",), self._exporter.exported)
        spans.add_metric(("failed",), self._exporter.failed)
        spans.add_metric(("dropped",), self._queue.dropped)
        yield spans


def _resource() -> Resource:
    found = Resource.create()
    named = not str(found.attributes["service.name"]).startswith("unknown_service")
    return found if named else found.merge(Resource({"service.name": _SERVICE}))


def _exporter(settings: Settings) -> SpanExporter:
    if settings.exporter == "console":
        return ConsoleSpanExporter(out=sys.stderr)
    if "scope_spans" not in trace_pb2.ResourceSpans.DESCRIPTOR.fields_by_name:
        raise ConfigError(
            "--tracing", "needs the messages of opentelemetry-proto, and those of xds-protos lie over them",
            "`pip install --force-reinstall --no-deps opentelemetry-proto`",
        )  # fmt: skip
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
