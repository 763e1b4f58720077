"""What can go wrong and whose fault it was: a request that is turned away, a configuration that cannot be used.

Mapping to HTTP or to an exit code happens elsewhere; everything that is not one of these is a builtin exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType


class DropReason(StrEnum):
    """Values of the response header `x-llm-d-request-dropped-reason` (upstream names)."""

    NO_ENDPOINTS = "rejected-no-endpoints"
    SATURATED = "rejected-saturated"
    """Also where the filters of a profile left nobody."""
    QUEUE_FULL = "rejected-saturated"
    TTL_EXPIRED = "rejected-ttl-expired"
    CONTEXT_CANCELLED = "rejected-context-cancelled"
    SHUTTING_DOWN = "rejected-shutting-down"
    EVICTED = "evicted"
    # Ours; upstream sends no reason for these.
    BAD_REQUEST = "rejected-bad-request"
    TOO_LARGE = "rejected-too-large"
    NOT_CACHED = "rejected-not-cached"
    INTERNAL = "rejected-internal-error"
    PLUGIN = "rejected-by-plugin"
    """By a plugin of the body-based router."""


class Rejected(Exception):
    """A request that gets an answer from the gateway instead of a model server."""

    status = 500
    code = "Internal"
    reason = DropReason.INTERNAL
    retry_after_seconds: int | None = None
    queue_outcome = ""
    """How its waiting in a queue ended, by upstream's name; empty if it did not wait."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(Rejected):
    """The client's request cannot be understood; sending it again will not help."""

    status = 400
    code = "BadRequest"
    reason = DropReason.BAD_REQUEST


class TooLarge(Rejected):
    """The request's body is over the configured limit."""

    status = 413
    code = "PayloadTooLarge"
    reason = DropReason.TOO_LARGE


class NoEndpoints(Rejected):
    """No endpoint of the pool can serve the request now (protocol 004: 503)."""

    status = 503
    code = "ServiceUnavailable"
    reason = DropReason.NO_ENDPOINTS
    retry_after_seconds = 1


class NobodyLeft(Rejected):
    """The pool has endpoints, and the filters of the scheduling profile left none of them (upstream: 429)."""

    status = 429
    code = "ResourceExhausted"
    reason = DropReason.SATURATED
    retry_after_seconds = 1
    left_out: Mapping[str, Sequence[str]] = MappingProxyType({})
    """By name of the filter: `ip:port` of the candidates that it left out."""


class Shed(Rejected):
    """A request of priority below 0 that was turned away to relieve the pool."""

    status = 429
    code = "ResourceExhausted"
    reason = DropReason.SATURATED
    retry_after_seconds = 1


class NotCached(Rejected):
    """The client wants to be served only where its prompt is cached (`Prefer: if-available`), and it is not (upstream: 412)."""

    status = 412
    code = "PreconditionFailed"
    reason = DropReason.NOT_CACHED


class QueueFull(Rejected):
    """As many requests wait as may wait (upstream: 429)."""

    status = 429
    code = "ResourceExhausted"
    reason = DropReason.QUEUE_FULL
    retry_after_seconds = 1


class WaitedTooLong(Rejected):
    """The request has waited as long as it may, in a pool that has endpoints (upstream: 429)."""

    status = 429
    code = "ResourceExhausted"
    reason = DropReason.TTL_EXPIRED
    retry_after_seconds = 1


class ClientLeft(Rejected):
    """The client went away while its request waited (upstream: 503); nobody reads this."""

    status = 503
    code = "ServiceUnavailable"
    reason = DropReason.CONTEXT_CANCELLED


class ShuttingDown(Rejected):
    """The picker takes nothing more (upstream: 503)."""

    status = 503
    code = "ServiceUnavailable"
    reason = DropReason.SHUTTING_DOWN
    retry_after_seconds = 1


class EvictedInFlight(Rejected):
    """The request was running and was ended to make room for more important ones (upstream: 429)."""

    status = 429
    code = "ResourceExhausted"
    reason = DropReason.EVICTED
    retry_after_seconds = 1


class ConfigError(Exception):
    """A file that cannot be used: where, what is wrong, and what would be right."""

    def __init__(self, where: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{where}: {problem}" + (f" ({hint})" if hint else ""))
        self.where = where
        self.problem = problem
        self.hint = hint
