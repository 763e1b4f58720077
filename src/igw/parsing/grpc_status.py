"""What a gRPC status is in HTTP's numbers, by which everything here counts, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping

OK, UNKNOWN = 0, 2

_OF_HTTP: Mapping[int, int] = {
    400: 3, 401: 16, 403: 7, 404: 5, 412: 9, 413: 8, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14, 504: 4,
}  # fmt: skip
"""Left to itself Envoy makes UNAVAILABLE of a 429, which clients try again at once, and INTERNAL of a 400."""

_AS_HTTP: Mapping[int, int] = {
    0: 200, 1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401,
}  # fmt: skip
"""google.rpc.Code's own table. RESOURCE_EXHAUSTED stands for a full queue and for a message that is too large: 429."""


def of_http(status: int) -> int:
    """Return the gRPC status by which a client is refused with what would be HTTP *status*."""
    return _OF_HTTP.get(status, UNKNOWN)


def as_http(code: str) -> int | None:
    """Return the HTTP status that the header or trailer `grpc-status` stands for; None if *code* is no number."""
    return _AS_HTTP.get(int(code), 500) if code.isdecimal() else None
