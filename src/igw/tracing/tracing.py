"""Tracing as one part of a picker: begins a trace for some of the requests that come, and ends it with them. Deciding is noted by `deciding`.

A request without a trace costs a look at its headers and some at a dictionary. Without tracing nothing of this room is entered.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

from msgspec.structs import replace
from prometheus_client.core import Metric

from igw.decision import NO_RESERVATION, Decision
from igw.errors import Rejected
from igw.outcomes.ledger import Listener
from igw.outcomes.outcome import Outcome
from igw.request import Head, Request
from igw.routing.router import Router
from igw.scheduling.observed import Series
from igw.scheduling.scheduler import Scheduler
from igw.telemetry import log
from igw.telemetry.recording import exemplified
from igw.tracing import deciding, spans
from igw.tracing.context import TRACEPARENT, parent, traceparent
from igw.tracing.deciding import TracedRouter, Traces
from igw.tracing.export import Export
from igw.tracing.settings import Settings
from igw.tracing.trace import Trace

Process = Callable[[Any, Any], Awaitable[None]]
Read = Callable[..., Request]
Refused = Callable[[Request | None, Rejected], None]
Route = Callable[[Request], Awaitable[Decision]]

_MOST = 10_000
"""Traces of requests that have not ended; beyond that none is begun."""
_ARRIVED: ContextVar[float] = ContextVar("arrived")


class Tracing:
    """Owner of the traces of requests that have not ended."""

    def __init__(self, settings: Settings, clock: Callable[[], float], export: Export | None = None) -> None:
        """Take the picker's monotonic clock.

        Raises:
            ConfigError: what is installed cannot send.
        """
        self._settings = settings
        self._clock = clock
        self.export = export or Export(settings)
        self._traces = Traces(clock)

    # What is put around ---------------------------------------------------------------------------------------------

    def around(self, exchanges: Any) -> None:
        """Trace what comes in by *exchanges* (`igw.extproc.server.ExtProc`)."""
        exchanges.process = self._process(exchanges.process)
        exchanges.read = self._read(exchanges.read)
        exchanges.route = self._route(exchanges.route)

    def router(self, *given: Any) -> Router:
        """Return a router of *given* that is traced."""
        return TracedRouter(self._traces, *given)

    def series(self, series: Series) -> Series:
        """Return *series*, whose calls of plugins have spans, if that is wanted."""
        return deciding.noting(series, self._traces) if self._settings.plugins else series

    def scheduler(self, scheduler: Scheduler) -> Scheduler:
        """Return *scheduler*, whose profiles have spans, if that is wanted."""
        return deciding.traced(scheduler, self._traces) if self._settings.plugins else scheduler

    def ending(self, listener: Listener) -> Listener:
        """Return *listener*: what it observes of a request with a trace are exemplars, and then the trace ends."""
        traces = self._traces

        def ended(decision: Decision, outcome: Outcome) -> None:
            trace = traces.running.pop(decision.id, None)
            if trace is None:
                listener(decision, outcome)
                return
            traces.open.pop(id(trace.head), None)
            with exemplified(trace.id, trace.ns(self._clock()) / 1e9):
                listener(decision, outcome)
            spans.ended(self.export, trace, self._clock(), decision, outcome)

        return ended

    def refusing(self, refused: Refused) -> Refused:
        """Return *refused*, which also ends the trace of one that was sent to wait, and then turned away."""

        def told(request: Request | None, rejected: Rejected) -> None:
            refused(request, rejected)
            trace = self._traces.open.get(id(request.head)) if request is not None else None
            if trace is not None:
                self._failed(trace, rejected)

        return told

    def collect(self) -> Iterable[Metric]:
        """Yield what became of spans."""
        return self.export.collect()

    async def close(self) -> None:
        """End all traces as far as they came, and send them."""
        traces, now = self._traces, self._clock()
        for trace in {*traces.open.values(), *traces.running.values()}:
            spans.left_open(self.export, trace, now)
        traces.open.clear()
        traces.running.clear()
        await self.export.close()

    # A request ------------------------------------------------------------------------------------------------------

    def _process(self, process: Process) -> Process:
        clock = self._clock

        async def arrived(requests: Any, context: Any) -> None:
            _ARRIVED.set(clock())
            await process(requests, context)

        return arrived

    def _read(self, read: Read) -> Read:
        wants, traces = self._settings.sampler.wants, self._traces

        def traced(head: Head, *given: Any) -> Request:
            if (
                not wants(parent(head.headers), random.random)
                or len(traces.open) + len(traces.running) >= _MOST
            ):
                return read(head, *given)
            trace = self._begun(head, start := self._clock())
            try:
                trace.request = request = read(head, *given)
            except BaseException as error:
                self._failed(trace, error)
                raise
            trace.parsed = start, self._clock()
            return request

        return traced

    def _begun(self, head: Head, now: float) -> Trace:
        arrived, epoch_ns = _ARRIVED.get(now), time.time_ns() - int(now * 1e9)
        trace = self._traces.open[id(head)] = Trace(head, spans.caller(head.headers), arrived, epoch_ns)
        log.TRACE.set(trace.id)
        return trace

    def _route(self, route: Route) -> Route:
        traces = self._traces.open

        async def traced(request: Request) -> Decision:
            trace = traces.get(id(request.head))
            if trace is None:
                return _untraced(await route(request))
            trace.asked_at = self._clock()
            try:
                decision = await route(request)
            except BaseException as error:
                self._failed(trace, error)
                raise
            return self._decided(trace, decision)

        return traced

    def _decided(self, trace: Trace, decision: Decision) -> Decision:
        trace.request, context = decision.request, trace.root
        if decision.id != NO_RESERVATION:  # else it will have a decision once it has waited
            self._traces.open.pop(id(trace.head), None)
            if decision.id in self._traces.running:  # else it is over already
                context = trace.server = trace.context()
        return _saying(decision, traceparent(context.trace_id, context.span_id, sampled=True))

    def _failed(self, trace: Trace, error: BaseException) -> None:
        self._traces.open.pop(id(trace.head), None)
        spans.refused(self.export, trace, self._clock(), error)


def _untraced(decision: Decision) -> Decision:
    """Return *decision* of a request without a trace: unless its caller has said so, the model server is told that there is none to be had."""
    if TRACEPARENT in decision.request.head.headers:
        return decision
    return _saying(
        decision, traceparent(random.getrandbits(128) | 1, random.getrandbits(64) | 1, sampled=False)
    )


def _saying(decision: Decision, header: str) -> Decision:
    delivery = decision.delivery
    headers = {**delivery.headers, TRACEPARENT: header}
    return replace(decision, delivery=replace(delivery, headers=headers))
