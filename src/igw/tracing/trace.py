"""One request that has a trace: the instants of its way, noted as it goes. What becomes spans of them is `spans`' business."""

from __future__ import annotations

import random

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from igw.request import Head, Request

Interval = tuple[float, float]
"""Begin and end, in seconds on the picker's monotonic clock."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class Noted:
    """One call of a profile or plugin."""

    __slots__ = ("attributes", "interval", "name")

    def __init__(self, name: str, interval: Interval, attributes: dict[str, str | int]) -> None:
        self.name, self.interval, self.attributes = name, interval, attributes


class Trace:
    """What is known so far. It holds the request's head, so that nobody else's can be at the same place in memory."""

    __slots__ = (
        "_state",
        "arrived_at",
        "asked_at",
        "caller",
        "calls",
        "claimed_at",
        "epoch_ns",
        "gathered",
        "head",
        "number",
        "parsed",
        "picked",
        "request",
        "root",
        "server",
    )  # fmt: skip

    def __init__(self, head: Head, caller: SpanContext | None, arrived_at: float, epoch_ns: int) -> None:
        """Begin below the span of its *caller*, if it has one; *epoch_ns*: what the monotonic clock's 0 was, in nanoseconds since 1970."""
        self.head = head
        self.caller = caller
        self.number = caller.trace_id if caller is not None else random.getrandbits(128) | 1
        self._state = caller.trace_state if caller is not None else TraceState()
        self.arrived_at = arrived_at
        self.epoch_ns = epoch_ns
        self.root = self.context()
        self.request: Request | None = None
        self.parsed: Interval | None = None
        self.asked_at: float | None = None
        """When it asked for an endpoint."""
        self.claimed_at: float | None = None
        """When those had answered who are asked before there may be a pick: since then it could have been placed."""
        self.gathered: Interval | None = None
        """The last look at what is known of its candidates."""
        self.picked: Interval | None = None
        """The last choice among them, and the reservation."""
        self.calls: list[Noted] = []
        self.server: SpanContext | None = None
        """Of the span from the decision to the end of the answer: what the model server is told of."""

    @property
    def id(self) -> str:
        """Its id as it is written."""
        return f"{self.number:032x}"

    def context(self) -> SpanContext:
        """Return the identity of a new span of it."""
        return SpanContext(self.number, random.getrandbits(64) | 1, False, _SAMPLED, self._state)

    def ns(self, at: float) -> int:
        """Return an instant in nanoseconds since 1970."""
        return self.epoch_ns + int(at * 1e9)
