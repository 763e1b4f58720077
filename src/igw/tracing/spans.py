"""Instants and outcomes -> spans: their names, how they nest, their attributes. Nothing that a client wrote is in them but names of models.

Names are upstream's where it has such a span, attributes those of OpenTelemetry's conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/) where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from igw.decision import Decision
from igw.errors import Rejected
from igw.outcomes.ledger import REQUEST_ID
from igw.outcomes.outcome import End, Outcome
from igw.request import Request
from igw.tracing.export import Export
from igw.tracing.trace import Interval, Noted, Trace

Attributes = dict[str, Any]
PROFILE = "run_scheduler_profile"
_NOTHING: Mapping[str, Any] = {}
_PROPAGATOR = TraceContextTextMapPropagator()
_OPERATIONS = {
    "chat/completions": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
_ANY_OPERATION = "generate_content"
_SERVER_ERROR = 500


_FAILED, _FINE = Status(StatusCode.ERROR), Status()
_MOST_CHARACTERS = 256
"""Of what clients choose."""


def caller(headers: Mapping[str, str]) -> SpanContext | None:
    """Return the span of whoever sent a request with these headers."""
    found = get_current_span(_PROPAGATOR.extract(headers, Context())).get_span_context()
    return found if found.is_valid else None


def ended(export: Export, trace: Trace, now: float, decision: Decision, outcome: Outcome) -> None:
    """Tell all spans of a request that had a decision. What the proxy measured counts from where it arrived here."""
    decided = decision.decided_at
    end = trace.arrived_at + outcome.duration_seconds if outcome.duration_seconds is not None else now
    end = max(end, decided)
    _of_way(export, trace, decided)
    result = {"igw.end": outcome.end.value, "igw.decision": str(decision.id), **_of_end(outcome)}
    status = _FAILED if "error.type" in result else _FINE
    result |= _of_usage(outcome)
    request = decision.request
    server = trace.server
    if outcome.ttft_seconds is not None:  # one that waited to be told has no span of its own for its server
        first, below = min(max(trace.arrived_at + outcome.ttft_seconds, decided), end), server or trace.root
        _child(export, trace, below, "model_server.first_byte", (decided, first))
        _child(export, trace, below, "model_server.answer", (first, end))
    if server is not None:
        attributes = {**_of_request(request), **_of_server(decision, outcome), **result}
        operation = attributes.get("gen_ai.operation.name")
        name = f"{operation} {_cut(request.served_model)}" if operation else "model_server"
        interval = trace.ns(decided), trace.ns(end)
        export.span(name, server, trace.root, interval, attributes, SpanKind.CLIENT, status)
    _root(export, trace, end, {**_of_request(request), **result}, status)


def refused(export: Export, trace: Trace, now: float, error: BaseException) -> None:
    """Tell the spans of a request that went nowhere."""
    _of_way(export, trace, now)
    said: Attributes = {"error.type": type(error).__name__}  # no words of it: who knows what they quote
    if isinstance(error, Rejected):
        said = {
            "error.type": error.code,
            "http.response.status_code": error.status,
            "igw.reason": str(error.reason),
        }
    if trace.request is not None:
        said |= _of_request(trace.request)
    left = isinstance(error, asyncio.CancelledError)
    _root(export, trace, now, said, _FINE if left else _FAILED)


def left_open(export: Export, trace: Trace, now: float) -> None:
    """Tell that a request came, of which nothing more will be known."""
    _root(export, trace, now, {}, _FINE)


def _root(export: Export, trace: Trace, end: float, said: Mapping[str, Any], status: Status) -> None:
    head = trace.head
    attributes: Attributes = {
        "http.request.method": _cut(head.method),
        "url.path": _cut(head.path.partition("?")[0]),
        **said,
    }
    if request_id := head.headers.get(REQUEST_ID):
        attributes["gen_ai.request.id"] = _cut(request_id)
    if head.pool:
        attributes["igw.pool"] = head.pool
    interval = trace.ns(trace.arrived_at), trace.ns(max(end, trace.arrived_at))
    export.span("gateway.request", trace.root, trace.caller, interval, attributes, SpanKind.SERVER, status)


def _of_way(export: Export, trace: Trace, until: float) -> None:
    """Tell what was done here *until* the decision or its refusal, as far as it came."""
    request = trace.request
    _child(export, trace, trace.root, "parse", trace.parsed)
    if trace.asked_at is None or request is None:
        return
    said = {"target_model": _cut(request.served_model), "request_prio": request.priority}
    way = _child(export, trace, trace.root, "gateway.request_orchestration", (trace.asked_at, until), said)
    if trace.claimed_at is not None:
        _child(export, trace, way, "produce", (trace.asked_at, trace.claimed_at))
        looked_at = trace.gathered[0] if trace.gathered else until
        _child(export, trace, way, "admission", (trace.claimed_at, looked_at))
    _of_calls(export, trace, way)


def _of_calls(export: Export, trace: Trace, way: SpanContext) -> None:
    """Tell of looking and choosing, and of profiles and plugins: each below what it lies within in time."""
    parts = [
        Noted(name, each, {}) for name, each in (("gather", trace.gathered), ("pick", trace.picked)) if each
    ]
    around: list[tuple[Interval, SpanContext]] = []
    for noted in sorted([*parts, *trace.calls], key=lambda each: (each.interval[0], -each.interval[1])):
        start, end = noted.interval
        below = way
        for (began, ended_at), context in around:
            if began <= start and end <= ended_at:
                below = context
        own = _child(export, trace, below, noted.name, noted.interval, noted.attributes)
        if noted in parts or noted.name == PROFILE:
            around.append((noted.interval, own))


def _child(
    export: Export,
    trace: Trace,
    below: SpanContext,
    name: str,
    interval: Interval | None,
    attributes: Mapping[str, Any] = _NOTHING,
) -> SpanContext:
    """Tell a span and return its identity; of no interval there is none."""
    own = trace.context()
    if interval is not None:
        export.span(name, own, below, (trace.ns(interval[0]), trace.ns(max(interval))), attributes)
    return own


def _cut(text: str) -> str:
    return text[:_MOST_CHARACTERS]


def _of_request(request: Request) -> Attributes:
    if not request.api:
        return {}
    attributes: Attributes = {
        "gen_ai.operation.name": _OPERATIONS.get(request.api, _ANY_OPERATION),
        "gen_ai.request.model": _cut(request.served_model),
        "gen_ai.request.stream": request.stream,
    }
    if request.max_output_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = request.max_output_tokens
    return attributes


def _of_usage(outcome: Outcome) -> Mapping[str, int]:
    usage = outcome.usage
    counts = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _of_server(decision: Decision, outcome: Outcome) -> Mapping[str, str | int]:
    """Name who served in the end, which is not always who was picked."""
    address, _, port = decision.server(outcome.served_by).rpartition(":")
    return {"server.address": address.strip("[]"), "server.port": int(port) if port.isdecimal() else 0}


def _of_end(outcome: Outcome) -> Attributes:
    said: Attributes = {"http.response.status_code": outcome.status} if outcome.status else {}
    if outcome.end is End.FAILED or outcome.status >= _SERVER_ERROR:
        said["error.type"] = str(outcome.status) if outcome.status else outcome.end.value
    return said
