"""What can go wrong and whose fault it was: a request that is turned away, a configuration that cannot be used.

Mapping to HTTP or to an exit code happens elsewhere; everything that is not one of these is a builtin exception.
"""

from __future__ import annotations

from enum import StrEnum


class DropReason(StrEnum):
    """Values of the response header `x-llm-d-request-dropped-reason` (upstream names)."""

    NO_ENDPOINTS = "rejected-no-endpoints"
    SATURATED = "saturated"
    """Also where the filters of a profile left nobody."""
    # Ours; upstream sends no reason for these.
    BAD_REQUEST = "rejected-bad-request"
    TOO_LARGE = "rejected-too-large"
    INTERNAL = "rejected-internal-error"


class Rejected(Exception):
    """A request that gets an answer from the gateway instead of a model server."""

    status = 500
    code = "Internal"
    reason = DropReason.INTERNAL
    retry_after_seconds: int | None = None

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
    code = "TooManyRequests"
    reason = DropReason.SATURATED
    retry_after_seconds = 1


class Shed(Rejected):
    """A request of priority below 0 that was turned away to relieve the pool."""

    status = 429
    code = "TooManyRequests"
    reason = DropReason.SATURATED
    retry_after_seconds = 1


class ConfigError(Exception):
    """A file that cannot be used: where, what is wrong, and what would be right."""

    def __init__(self, where: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{where}: {problem}" + (f" ({hint})" if hint else ""))
        self.where = where
        self.problem = problem
        self.hint = hint
