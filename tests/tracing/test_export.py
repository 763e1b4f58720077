"""Spans on their way: what a collector that is away, slow or gone costs."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client.core import Metric

from igw.tracing.export import Export
from igw.tracing.settings import Settings


class Stuck(SpanExporter):
    """Takes nothing until it is let."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.let, self.called = threading.Event(), threading.Event()
        self.result = result

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.called.set()
        self.let.wait(20)
        return self.result

    def shutdown(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """Give a collector that is stuck for the time of the test."""
    collector = Stuck()
    yield collector
    collector.let.set()


def spans(export: Export) -> dict[str, float]:
    """Return the counts."""
    (family,) = export.collect()
    assert isinstance(family, Metric)
    return {sample.labels["result"]: sample.value for sample in family.samples}


def send(export: Export) -> None:
    """Send a span."""
    export.span("s", SpanContext(1, 2, False, TraceFlags(1)), None, (0, 1), {})


async def test_more_than_may_wait_is_dropped_and_counted(stuck: Stuck) -> None:
    """Nobody waits for it, and memory is bounded."""
    export = Export(Settings(), stuck)
    for _ in range(5000):
        send(export)
    assert spans(export)["dropped"] == 5000 - 2048
    stuck.let.set()
    await export.close()
    assert spans(export) == {"exported": 2048, "failed": 0, "dropped": 5000 - 2048}


async def test_what_the_collector_refuses_is_counted() -> None:
    """Not as exported."""
    refusing = Stuck(SpanExportResult.FAILURE)
    refusing.let.set()
    export = Export(Settings(), refusing)
    send(export)
    await export.close()
    assert spans(export) == {"exported": 0, "failed": 1, "dropped": 0}


async def test_the_end_waits_two_seconds_for_a_collector_at_most(stuck: Stuck) -> None:
    """And the event loop goes on meanwhile."""
    export = Export(Settings(), stuck)
    send(export)
    await asyncio.to_thread(stuck.called.wait, 10)
    began, turns = time.monotonic(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.05)
            turns += 1

    counting = asyncio.create_task(count())
    await export.close()
    counting.cancel()
    assert 1.9 < time.monotonic() - began < 4
    assert turns > 10


async def test_a_collector_that_does_not_answer_is_told_of_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One who listens and says nothing: not even HTTP/2's first words."""
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    export = Export(Settings())
    send(export)
    async with asyncio.timeout(20):
        while not spans(export)["failed"]:
            await asyncio.sleep(0.05)
    await export.close()
    silent.close()
    said = capsys.readouterr()
    assert "spans_not_exported" in said.out + said.err
