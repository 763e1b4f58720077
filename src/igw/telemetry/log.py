"""Logs: one line of key=value (or JSON) per event on standard error. Bodies, prompts and tokens are never logged.

An event is a constant name; what differs is in its keys. Lines that belong to a request say which.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Literal

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

LEVELS = ("debug", "info", "warning", "error")
Form = Literal["console", "json"]

HEADERS: ContextVar[Mapping[str, str]] = ContextVar("headers", default={})  # noqa: B039 (nobody writes into it)
"""Of the request that this task is about: lines say its `x-request-id`."""
TRACE: ContextVar[str] = ContextVar("trace", default="")
"""Id of its trace, where it has one of ours; else that of its `traceparent` is said."""

_FIRST, _THEN = 20, 100
"""Lines of one event in a second: so many are written, and of those beyond one in so many."""
_MOST_EVENTS = 1_000
_TRACEPARENT_CHARACTERS = 55


class _Logger(structlog.make_filtering_bound_logger("debug")):  # type: ignore[misc]
    """What every module logs with. Its base is swapped when the level is: loggers that are in use already see it."""


_LEVEL = ["debug"]


def configure(level: str = "info", form: Form = "console") -> None:
    """Send every log of this process to standard error, from *level* up."""
    processors: list[Processor] = [
        Sampling(time.monotonic),
        of_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if form == "json":
        processors.append(structlog.processors.JSONRenderer())
    else:
        # Not its own pretty tracebacks: they show local variables, and so prompts.
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        )
    structlog.configure(
        processors=processors,
        wrapper_class=_Logger,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    set_level(level)


def set_level(level: str) -> None:
    """Log from *level* up from now on."""
    _Logger.__bases__ = (structlog.make_filtering_bound_logger(level),)
    _LEVEL[0] = level


def level() -> str:
    """Return from which level up is logged."""
    return _LEVEL[0]


def of_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say which request a line belongs to, unless it says so itself (processor of structlog)."""
    headers = HEADERS.get()
    if request_id := headers.get("x-request-id"):
        event.setdefault("request_id", request_id)
    parent = headers.get("traceparent", "")
    trace_id = TRACE.get() or (parent[3:35] if len(parent) == _TRACEPARENT_CHARACTERS else "")
    if trace_id:
        event.setdefault("trace_id", trace_id)
    return event


class Sampling:
    """Lets the first lines of an event through in every second, and of those beyond one in so many (processor of structlog)."""

    def __init__(self, clock: Callable[[], float], first: int = _FIRST, then: int = _THEN) -> None:
        self._clock = clock
        self._first, self._then = first, then
        self._events: dict[str, list[int]] = {}

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Return *event*, with how many like it were `left_out` since the last one.

        Raises:
            structlog.DropEvent: it is not to be written.
        """
        name, second = str(event.get("event")), int(self._clock())
        counts = self._events.get(name)
        if counts is None:
            if len(self._events) >= _MOST_EVENTS:
                self._events.clear()
            counts = self._events[name] = [second, 0, 0]
        if counts[0] != second:
            counts[0], counts[1] = second, 0
        counts[1] += 1
        if counts[1] > self._first and (counts[1] - self._first) % self._then:
            counts[2] += 1
            raise structlog.DropEvent
        if counts[2]:
            event["left_out"], counts[2] = counts[2], 0
        return event
