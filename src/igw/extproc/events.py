"""What an exchange is told and what it wants done: events and effects of the session, with the modes in which bodies come.

Values only. What follows from them is `extproc.session`; the protobuf they stand for is `extproc.mapping`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Literal, TypeAlias

import msgspec

from igw.decision import Decision
from igw.errors import Rejected
from igw.parsing.api import Shape
from igw.parsing.usage import Usage
from igw.request import Head

PIECE_BYTES = 62_000
"""Largest piece of a body sent back: below Envoy's 64 KiB for streamed replies (upstream's figure)."""


class BodyMode(Enum):
    """How the proxy sends a body (Envoy `ProcessingMode.BodySendMode`)."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4


class Modes(msgspec.Struct, frozen=True):
    """What the proxy does with bodies. A proxy that does not say is taken to stream both ways, as protocol 004 asks."""

    request: BodyMode = BodyMode.FULL_DUPLEX_STREAMED
    response: BodyMode = BodyMode.FULL_DUPLEX_STREAMED


# Events -----------------------------------------------------------------------------------------------------------


class RequestHeaders(msgspec.Struct, frozen=True):
    """The request has begun; *end*: it has no body."""

    head: Head
    end: bool
    modes: Modes = Modes()


class RequestBody(msgspec.Struct, frozen=True):
    """A piece of the request's body, or all of it; *end*: neither more of it nor trailers follow."""

    data: bytes
    end: bool
    subset: tuple[str, ...] | None = None
    """Subset hint of this message: upstream's proxies may send it with the body only."""


class RequestTrailers(msgspec.Struct, frozen=True):
    """The request has ended with trailers."""


class ResponseHeaders(msgspec.Struct, frozen=True):
    """The answer has begun; *end*: it has no body. *served_by* is `ip:port`, if the proxy says so; names of *headers* in lower case."""

    status: int
    end: bool
    served_by: str = ""
    modes: Modes = Modes()
    headers: Mapping[str, str] = {}


class ResponseBody(msgspec.Struct, frozen=True):
    """A piece of the answer's body; *end*: neither more of it nor trailers follow."""

    data: bytes
    end: bool


class ResponseTrailers(msgspec.Struct, frozen=True):
    """The answer has ended with trailers; *status*: what their gRPC status would be in HTTP, if they have one."""

    status: int | None = None


Event: TypeAlias = (
    RequestHeaders | RequestBody | RequestTrailers | ResponseHeaders | ResponseBody | ResponseTrailers
)


# Effects ----------------------------------------------------------------------------------------------------------


class Decide(msgspec.Struct, frozen=True):
    """Route this request, then call `decided()` or `rejected()`."""

    head: Head
    body: bytes | bytearray | None
    """None: the proxy does not show it, or not all of it, before the pick."""


class Acknowledge(msgspec.Struct, frozen=True):
    """Reply without changes to the named part of the exchange (a field of `ProcessingResponse`)."""

    part: str


class Patience(msgspec.Struct, frozen=True):
    """Reply to nothing: the message that the proxy waits for an answer to will take so long (`override_message_timeout`)."""

    seconds: float


class SendPick(msgspec.Struct, frozen=True):
    """Reply with the pick, in the reply to `request_headers`, `request_body` or `request_trailers`."""

    part: str
    decision: Decision
    destination: str
    """`ip:port[,ip:port...]`, the same in header and metadata."""
    remove_headers: Sequence[str] = ()
    body: bytes | None = None
    """In the place of the one that the proxy kept."""
    content_length: int | None = None
    """What the header is to say from now on; None: what it says."""
    scores: Mapping[str, float] = {}
    """By `ip:port`, for metadata; empty: not asked for, or there are none."""


class SetAnswerHeaders(msgspec.Struct, frozen=True):
    """Reply to the answer's headers, setting some and removing others."""

    headers: Mapping[str, str]
    remove: Sequence[str] = ()


class PassBody(msgspec.Struct, frozen=True):
    """Send a piece of a body on, in full-duplex mode; *part* is `request_body` or `response_body`."""

    part: str
    data: bytes | memoryview
    end: bool


class ReplaceBody(msgspec.Struct, frozen=True):
    """Reply to the one message that has all of the answer's body, with another in its place."""

    data: bytes


class Refuse(msgspec.Struct, frozen=True):
    """Answer the client in the model server's place (`ImmediateResponse`); *grpc*: it reads a gRPC status, not a body."""

    rejected: Rejected
    grpc: bool = False
    path: str = ""
    """Of the request."""
    shape: Shape | Literal["plain"] = "openai"
    """How the API of that path writes its errors; `plain`: a line of text, as upstream's picker."""


class Answered(msgspec.Struct, frozen=True):
    """The answer has begun: its status, and who served it if the proxy says so."""

    status: int
    served_by: str = ""


class FirstByte(msgspec.Struct, frozen=True):
    """The first byte of the answer's body passed."""


class Ended(msgspec.Struct, frozen=True):
    """The answer has ended as it should; what it said of its tokens.

    Comes before the reply that lets the end pass: a proxy that has that reply may be gone before its sending returns.
    """

    usage: Usage
    response_bytes: int
    status: int | None = None
    """What the answer says of itself at its end, in HTTP's numbers; None: what it said at its beginning."""


Effect: TypeAlias = (
    Decide
    | Acknowledge
    | SendPick
    | SetAnswerHeaders
    | PassBody
    | ReplaceBody
    | Refuse
    | Answered
    | FirstByte
    | Ended
)


class ProtocolError(Exception):
    """The proxy sent what it must not send now."""
