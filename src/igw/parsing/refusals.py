"""Errors of ours as the clients of an API read them. Which error it is, and how it travels, is not here."""

from __future__ import annotations

import msgspec

from igw.errors import Rejected
from igw.parsing.api import Shape


class _Error(msgspec.Struct):
    message: str
    type: str
    param: None
    code: str


_TYPES = {400: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    412: "invalid_request_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip


def error_body(rejected: Rejected, shape: Shape = "openai") -> bytes:
    """Return the JSON object that clients of an API of this *shape* expect in the place of an answer."""
    if shape == "anthropic":
        kind = _ANTHROPIC_TYPES.get(rejected.status, "api_error")
        return msgspec.json.encode(
            {"type": "error", "error": {"type": kind, "message": rejected.message}, "request_id": None}
        )
    kind = _TYPES.get(rejected.status, "server_error")
    return msgspec.json.encode({"error": _Error(rejected.message, kind, None, rejected.code)})
