"""What a client reads while it waits, and when it has waited in vain: server-sent events (WHATWG HTML, 9.2). When, is `server`."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import msgspec

from igw.errors import Rejected
from igw.flow.statistics import Standing
from igw.parsing.api import Shape
from igw.parsing.refusals import error_body


def standing(where: Standing) -> bytes:
    """Return a comment, which clients pass over that do not look for it: position, and expected wait in seconds where that is known."""
    wait = where.expected_wait_seconds
    known = "" if wait is None or not math.isfinite(wait) else f", expected wait {wait:.1f} s"
    return f": queue position {where.position}{known}\n\n".encode()


def refusal(rejected: Rejected, shape: Shape) -> bytes:
    """Return the end of a stream that came to nothing: why, when to come back, and the error that the API's clients know."""
    retry = rejected.retry_after_seconds
    # In the event of the error: alone it would be an event without data, which SDKs try to read.
    come_back = b"" if retry is None else b"retry: %d\n" % (1000 * retry)
    return b": %s\n\n" % rejected.reason.encode() + come_back + _error(error_body(rejected, shape), shape)


def failure(message: str, shape: Shape, body: bytes = b"") -> bytes:
    """Return the end of a stream that its model server broke off or did not begin: the error in *body*, where it said one, else *message*."""
    said: Any = None
    with contextlib.suppress(msgspec.DecodeError):
        said = msgspec.json.decode(body)
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        return _error(msgspec.json.encode(said), shape)
    failed = Rejected(message)
    failed.code = "ModelServerError"
    return _error(error_body(failed, shape), shape)


def _error(body: bytes, shape: Shape) -> bytes:
    if shape == "anthropic":
        return b"event: error\ndata: %s\n\n" % body
    return b"data: %s\n\ndata: [DONE]\n\n" % body
