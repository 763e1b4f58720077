"""What is known of a request once it is over. How it was learnt (access log or response stream) is not here."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from igw.parsing.usage import Usage


class End(StrEnum):
    """How a request ended."""

    COMPLETE = "complete"
    """The whole answer was delivered, whatever its status."""
    ABORTED = "aborted"
    """The client went away first."""
    FAILED = "failed"
    """The endpoint did not answer, or stopped in the middle."""
    UNKNOWN = "unknown"
    """Nobody told us: the answer was not watched, or the deadline passed."""


class Outcome(msgspec.Struct, frozen=True):
    """The end of one request."""

    end: End
    status: int = 0
    """HTTP status the client got; 0 when none was sent."""
    served_by: str = ""
    """`ip:port` that answered; empty when it is not known, which means the picked one."""
    unreachable: bool = False
    """Whether the endpoint picked first could not be connected to."""
    ttft_seconds: float | None = None
    """From the first byte of the request to the first byte of the answer's body."""
    duration_seconds: float | None = None
    served_ttft_seconds: float | None = None
    """Of the time to that first byte, what passed since the request went to the endpoint that answered."""
    upload_seconds: float = 0.0
    """Of the same time, until the client had sent its request; as far as that was seen."""
    download_seconds: float = 0.0
    """Of the duration, after the endpoint was done, until the client had it all; likewise."""
    response_bytes: int | None = None
    usage: Usage = Usage()

    @property
    def tpot_seconds(self) -> float | None:
        """Mean time per token after the first, of an answer that was streamed; None: not known."""
        first, whole, tokens = self.ttft_seconds, self.duration_seconds, self.usage.completion_tokens
        if first is None or whole is None or not tokens or tokens < 2:
            return None
        return (whole - first) / (tokens - 1)
