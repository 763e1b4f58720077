r"""One ext_proc exchange as a pure state machine: events in, effects out. No protobuf, no I/O, no clock.

An exchange is one HTTP request. The proxy tells first how it sends bodies (`Modes`); from that follows when the pick can be
answered, and how:

| request body mode      | pick is made                    | pick is answered in        | body goes back             |
|------------------------|---------------------------------|----------------------------|----------------------------|
| FULL_DUPLEX_STREAMED   | at the end of the body          | the reply to the headers   | in pieces, then trailers   |
| BUFFERED(_PARTIAL)     | with the one body message       | the reply to the body      | no, the proxy kept it      |
| STREAMED, NONE         | at the headers, body unread     | the reply to the headers   | no                         |
| any, headers end it    | at the headers                  | the reply to the headers   | no                         |

States and what is expected in each (anything else is a `ProtocolError` of the proxy, which ends the exchange):

    state \ event   headers      body          trailers     response headers  response body   response trailers
    START           READING*     -             -            ANSWERING         -               -
    READING         -            READING*      DECIDING     -                 -               -
    DECIDING        -            -             -            -                 -               -
    ROUTED          -            ROUTED (ack)  ROUTED       ANSWERING*        -               -
    ANSWERING       -            ANSWERING     ANSWERING    -                 ANSWERING*      DONE
    DONE            -            -             DONE         -                 -               DONE

`*` or DECIDING, DONE at the end of the stream that the event belongs to. START to ANSWERING is tolerated: an exchange may begin
with the answer. Body pieces after the pick come in STREAMED mode. Out of DECIDING leads `decided()`, or `rejected()` to DONE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias

import msgspec

from igw.decision import Decision, Delivery
from igw.errors import Rejected, TooLarge
from igw.parsing.usage import TAIL_BYTES
from igw.request import Head


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
    """The answer has begun; *end*: it has no body. *served_by* is `ip:port`, if the proxy says so."""

    status: int
    end: bool
    served_by: str = ""
    modes: Modes = Modes()


class ResponseBody(msgspec.Struct, frozen=True):
    """A piece of the answer's body; *end*: neither more of it nor trailers follow."""

    data: bytes
    end: bool


class ResponseTrailers(msgspec.Struct, frozen=True):
    """The answer has ended with trailers."""


Event: TypeAlias = (
    RequestHeaders | RequestBody | RequestTrailers | ResponseHeaders | ResponseBody | ResponseTrailers
)


# Effects ----------------------------------------------------------------------------------------------------------


class Decide(msgspec.Struct, frozen=True):
    """Route this request, then call `decided()` or `rejected()`."""

    head: Head
    body: bytes | bytearray


class Acknowledge(msgspec.Struct, frozen=True):
    """Reply without changes to the named part of the exchange (a field of `ProcessingResponse`)."""

    part: str


class SendPick(msgspec.Struct, frozen=True):
    """Reply with the pick, in the reply to `request_headers`, `request_body` or `request_trailers`."""

    part: str
    decision: Decision
    destination: str
    """`ip:port[,ip:port...]`, the same in header and metadata."""
    remove_headers: Sequence[str] = ()


class SetAnswerHeaders(msgspec.Struct, frozen=True):
    """Reply to the answer's headers, setting some."""

    headers: Mapping[str, str]


class PassBody(msgspec.Struct, frozen=True):
    """Send a piece of a body on, in full-duplex mode; *part* is `request_body` or `response_body`."""

    part: str
    data: bytes | memoryview
    end: bool


class Refuse(msgspec.Struct, frozen=True):
    """Answer the client in the model server's place (`ImmediateResponse`)."""

    rejected: Rejected


class Answered(msgspec.Struct, frozen=True):
    """The answer has begun: its status, and who served it if the proxy says so."""

    status: int
    served_by: str = ""


class FirstByte(msgspec.Struct, frozen=True):
    """The first byte of the answer's body passed."""


class Ended(msgspec.Struct, frozen=True):
    """The answer has ended as it should; the last bytes of its body.

    Comes before the reply that lets the end pass: a proxy that has that reply may be gone before its sending returns.
    """

    tail: bytes
    response_bytes: int


Effect: TypeAlias = (
    Decide | Acknowledge | SendPick | SetAnswerHeaders | PassBody | Refuse | Answered | FirstByte | Ended
)


class ProtocolError(Exception):
    """The proxy sent what it must not send now."""


class State(Enum):
    """Where an exchange stands; see the table above."""

    START = auto()
    READING = auto()
    DECIDING = auto()
    ROUTED = auto()
    ANSWERING = auto()
    DONE = auto()


# Control headers that a client may send and no model server should see.
CONTROL_HEADERS = frozenset(
    {
        "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id",
        "x-llm-d-inference-objective", "x-gateway-inference-objective",
        "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite",
        "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms", "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms",
        "x-gateway-destination-endpoint-subset", "x-gateway-destination-endpoint-served",
        "x-llm-d-request-dropped-reason",
    }
)  # fmt: skip

PIECE_BYTES = 62_000
"""Largest piece of a body sent back: below Envoy's 64 KiB for streamed replies (upstream's figure)."""


_SERVED_UNKNOWN = (
    "fail: missing destination endpoint served metadata"  # upstream's words; its conformance test reads them
)


class Session:
    """One exchange. Call `receive()` with each event and carry out the effects in order."""

    def __init__(self, max_body_bytes: int, *, name_retries: bool = True) -> None:
        self.state = State.START
        self._name_retries = name_retries
        self._max_body_bytes = max_body_bytes
        self._modes = Modes()
        self._head: Head | None = None
        self._body: bytes | bytearray = b""
        self._trailers = False
        self._delivery = Delivery()
        self._pick_in = "request_headers"  # the part of the exchange whose reply will carry the pick
        self._response_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0

    def receive(self, event: Event) -> Sequence[Effect]:
        """Return what is to be done about *event*.

        Raises:
            ProtocolError: the proxy broke the order; the exchange cannot go on.
        """
        handler = _HANDLERS.get((self.state, type(event)))
        if handler is None:
            raise ProtocolError(f"{type(event).__name__} in state {self.state.name}")
        return handler(self, event)

    # The request ------------------------------------------------------------------------------------------------

    def _request_headers(self, event: RequestHeaders) -> Sequence[Effect]:
        self._head, self._modes = event.head, event.modes
        if event.end or event.modes.request in (BodyMode.NONE, BodyMode.STREAMED):
            return self._decide()
        declared = event.head.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            return self.rejected(self._too_large())
        self.state = State.READING
        return () if self._duplex else (Acknowledge("request_headers"),)

    def _request_body(self, event: RequestBody) -> Sequence[Effect]:
        self._pick_in = "request_body"
        if not self._body:
            self._body = event.data  # all of it, where the proxy kept it until it was whole
        elif isinstance(self._body, bytearray):
            self._body += event.data
        else:
            self._body = bytearray(self._body) + event.data
        if event.subset is not None and self._head is not None:
            self._head = msgspec.structs.replace(self._head, subset=event.subset)
        if len(self._body) > self._max_body_bytes:
            return self.rejected(self._too_large())
        # A buffered body comes in one message; `end` is not set on it when trailers follow.
        return self._decide() if event.end or not self._duplex else ()

    def _request_trailers(self, _event: RequestTrailers) -> Sequence[Effect]:
        self._trailers = True
        if not self._duplex:
            self._pick_in = "request_trailers"
        return self._decide()

    def _decide(self) -> Sequence[Effect]:
        if self._head is None:
            raise ProtocolError("no request headers")
        self.state = State.DECIDING
        return (Decide(self._head, self._body),)

    def decided(self, decision: Decision) -> Sequence[Effect]:
        """Take the pick and return the replies that carry it."""
        if self.state is not State.DECIDING or self._head is None:
            raise ProtocolError(f"a pick in state {self.state.name}")
        self.state = State.ROUTED
        self._delivery = decision.delivery
        remove = [name for name in self._head.headers if name in CONTROL_HEADERS]
        # Not every gateway understands the ordered list that protocol 004 allows; an original-destination cluster does not.
        destination = decision.destination if self._name_retries else decision.destination.partition(",")[0]
        body, self._body = memoryview(self._body), b""
        if not self._duplex:
            return (SendPick(self._pick_in, decision, destination, remove),)
        effects: list[Effect] = [SendPick("request_headers", decision, destination, remove)]
        if self._pick_in == "request_body":
            effects += self._pieces(body)
        if self._trailers:
            effects.append(Acknowledge("request_trailers"))
        return effects

    def rejected(self, rejected: Rejected) -> Sequence[Effect]:
        """Take a refusal and return the answer to the client."""
        self.state = State.DONE
        self._body = b""
        return (Refuse(rejected),)

    def _pieces(self, body: memoryview) -> list[Effect]:
        """Cut *body* for the way back, without copying; an empty one is still one piece: the proxy waits for its end."""
        cuts = range(0, len(body), PIECE_BYTES) or range(1)
        last = cuts[-1]
        return [
            PassBody("request_body", body[at : at + PIECE_BYTES], end=at == last and not self._trailers)
            for at in cuts
        ]

    def _late_body(self, _event: RequestBody) -> Sequence[Effect]:
        return (Acknowledge("request_body"),)

    def _late_trailers(self, _event: RequestTrailers) -> Sequence[Effect]:
        return (Acknowledge("request_trailers"),)

    # The answer -------------------------------------------------------------------------------------------------

    def _response_headers(self, event: ResponseHeaders) -> Sequence[Effect]:
        if self.state is State.START:
            self._modes = event.modes
        headers = dict(self._delivery.answer_headers)
        if self._delivery.tell_served:
            headers[self._delivery.tell_served] = event.served_by or _SERVED_UNKNOWN
        reply = SetAnswerHeaders(headers) if headers else Acknowledge("response_headers")
        self.state = State.ANSWERING
        ended = self._end() if event.end else []
        return [Answered(event.status, event.served_by), *ended, reply]

    def _response_body(self, event: ResponseBody) -> Sequence[Effect]:
        data = event.data
        effects: list[Effect] = []
        if data:
            if not self._response_bytes:
                effects.append(FirstByte())
            self._remember(data)
        if event.end:
            effects += self._end()
        if self._modes.response is BodyMode.FULL_DUPLEX_STREAMED:
            effects.append(PassBody("response_body", data, event.end))
        else:
            effects.append(Acknowledge("response_body"))
        return effects

    def _response_trailers(self, _event: ResponseTrailers) -> Sequence[Effect]:
        ended = self._end() if self.state is State.ANSWERING else []
        return [*ended, Acknowledge("response_trailers")]

    def _remember(self, data: bytes) -> None:
        """Keep the last pieces of the answer, as many as cover the tail that usage is read from."""
        self._response_bytes += len(data)
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def _end(self) -> list[Effect]:
        self.state = State.DONE
        return [Ended(b"".join(self._tail)[-TAIL_BYTES:], self._response_bytes)]

    # Small questions --------------------------------------------------------------------------------------------

    @property
    def _duplex(self) -> bool:
        return self._modes.request is BodyMode.FULL_DUPLEX_STREAMED

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request body is larger than {self._max_body_bytes} bytes")


_HANDLERS: dict[tuple[State, type[Event]], Callable[[Session, Any], Sequence[Effect]]] = {
    (State.START, RequestHeaders): Session._request_headers,
    (State.START, ResponseHeaders): Session._response_headers,
    (State.READING, RequestBody): Session._request_body,
    (State.READING, RequestTrailers): Session._request_trailers,
    (State.ROUTED, RequestBody): Session._late_body,
    (State.ROUTED, RequestTrailers): Session._late_trailers,
    (State.ROUTED, ResponseHeaders): Session._response_headers,
    (State.ANSWERING, RequestBody): Session._late_body,
    (State.ANSWERING, RequestTrailers): Session._late_trailers,
    (State.ANSWERING, ResponseBody): Session._response_body,
    (State.ANSWERING, ResponseTrailers): Session._response_trailers,
    (State.DONE, RequestTrailers): Session._late_trailers,
    (State.DONE, ResponseTrailers): Session._response_trailers,
}
