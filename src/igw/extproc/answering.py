"""One answer on its way through the picker: what is read from it and what is changed in it. No protobuf, no I/O, no clock.

When its pieces come and what is replied is the session's.
"""

from __future__ import annotations

from collections.abc import Mapping

from igw.decision import Delivery
from igw.parsing.model_writeback import ModelWriteback
from igw.parsing.registry import answer_reader
from igw.parsing.usage import NOTHING, Usage
from igw.request import Request

_KINDS_WITH_COUNTS = ("json", "event-stream", "grpc")
"""Parts of the content types in which token counts come; in plain text they would be what the model says."""


def _rewritten(request: Request) -> bool:
    return bool(request.model and request.target_model and request.target_model != request.model)


_SERVED_UNKNOWN = (
    "fail: missing destination endpoint served metadata"  # upstream's words; its conformance test reads them
)


def told_with_answer(delivery: Delivery, served_by: str) -> dict[str, str]:
    """Return the headers that plugins want set on the answer; *served_by* is `ip:port`, or empty if the proxy does not say."""
    headers = dict(delivery.answer_headers)
    if delivery.tell_served:
        headers[delivery.tell_served] = served_by or _SERVED_UNKNOWN
    return headers


class Answer:
    """One answer, from its headers to its end.

    Args:
        request: what is answered; None if the exchange began with the answer.
        headers: of the answer, names in lower case.
        changeable: whether pieces may be changed on their way.
    """

    def __init__(self, request: Request | None, headers: Mapping[str, str], *, changeable: bool) -> None:
        self.size_bytes = 0
        """Of what came from the model server."""
        kind = headers.get("content-type", "json")
        plain = headers.get("content-encoding", "identity") == "identity"
        readable = plain and any(part in kind for part in _KINDS_WITH_COUNTS)
        self._reader = answer_reader(request.api if request is not None else "") if readable else None
        self._writeback: ModelWriteback | None = None
        if request is not None and _rewritten(request) and changeable and readable and "grpc" not in kind:
            self._writeback = ModelWriteback(request.target_model, request.model)
        self.removed_headers = ("content-length",) if self._writeback and "content-length" in headers else ()
        """What would no longer be true of it."""

    def passed(self, data: bytes, *, last: bool) -> bytes:
        """Take a piece; return what goes on to the client now: after the *last* one nothing is held back."""
        self.size_bytes += len(data)
        if self._reader is not None:
            self._reader.feed(data)
        if self._writeback is None:
            return data
        return self._writeback.feed(data) + (self._writeback.rest() if last else b"")

    def rest(self) -> bytes:
        """Return what is still held back, at the end of a body that had no last piece."""
        return b"" if self._writeback is None else self._writeback.rest()

    def usage(self) -> Usage:
        """Return the token counts that the answer named. Called once, at its end."""
        return NOTHING if self._reader is None else self._reader.usage()
