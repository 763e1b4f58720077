"""Measures exchanges from outside, as upstream does where `--enable-grpc-stream-metrics` asks for it. What is in them is not looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from prometheus_client.core import Metric

from igw.telemetry.exposition import Gauge
from igw.telemetry.families import Families

Process = Callable[[Any, Any], Awaitable[None]]


class Exchanges:
    """Counts exchanges, and says how many there are."""

    def __init__(self, families: Families, clock: Callable[[], float]) -> None:
        self._seconds = families.extproc_stream_duration_seconds.observe
        self._total = families.extproc_streams_total
        self._clock = clock
        self._open = 0
        families.collect_with(self._collect)

    def measured(self, process: Process) -> Process:
        """Return *process*, measured."""

        async def run(requests: Any, context: Any) -> None:
            start, code = self._clock(), "OK"
            self._open += 1
            try:
                await process(requests, context)
            except asyncio.CancelledError:
                code = "Canceled"
                raise
            except BaseException:
                found = context.code() or grpc.StatusCode.UNKNOWN
                code = found.name.title().replace("_", "")  # as Go writes them
                raise
            finally:
                self._open -= 1
                self._seconds(self._clock() - start)
                self._total.labels(code).inc()

        return run

    def _collect(self) -> Iterable[Metric]:
        gauge = Gauge("llm_d_epp_extproc_streams_inflight", "Exchanges that are open.")
        gauge.add((), self._open)
        yield gauge.metric
