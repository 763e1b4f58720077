r"""One ext_proc exchange as a pure state machine: events in, effects out. No protobuf, no I/O, no clock.

An exchange is one HTTP request. The proxy tells first how it sends bodies (`Modes`); from that follows when the pick can be
answered, and how:

| request body mode      | pick is made                    | pick is answered in        | body goes back             |
|------------------------|---------------------------------|----------------------------|----------------------------|
| FULL_DUPLEX_STREAMED   | at the end of the body          | the reply to the headers   | in pieces, then trailers   |
| BUFFERED(_PARTIAL)     | with the one body message;      | the reply to the body      | only if it was rewritten   |
|                        | a part of a body is not read    |                            |                            |
| STREAMED, NONE         | at the headers, body unread     | the reply to the headers   | no                         |
| any, headers end it    | at the headers                  | the reply to the headers   | no                         |

States and what is expected in each (anything else is a `ProtocolError` of the proxy, which ends the exchange):

    state \ event   headers      body          trailers     response headers  response body   response trailers
    START           READING*     -             -            ANSWERING         -               -
    READING         -            READING*      DECIDING     -                 -               -
    DECIDING        -            -             -            -                 -               -
    ROUTED          -            ROUTED (ack)  ROUTED       ANSWERING*        ANSWERING*      DONE
    ANSWERING       -            ANSWERING     ANSWERING    -                 ANSWERING*      DONE
    DONE            -            -             DONE         -                 -               DONE

`*` or DECIDING, DONE at the end of the stream that the event belongs to. START to ANSWERING is tolerated: an exchange may begin
with the answer. Body pieces after the pick come in STREAMED mode. An answer without headers is one whose headers the proxy keeps. Out of DECIDING leads `decided()`, or `rejected()` to DONE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

import msgspec

from igw.decision import Decision, Delivery
from igw.errors import Rejected, TooLarge
from igw.extproc.answering import Answer, told_with_answer
from igw.extproc.control_headers import CONTROL_HEADERS
from igw.extproc.events import (
    PIECE_BYTES,
    Acknowledge,
    Answered,
    BodyMode,
    Decide,
    Effect,
    Ended,
    Event,
    FirstByte,
    Modes,
    PassBody,
    ProtocolError,
    Refuse,
    ReplaceBody,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    SendPick,
    SetAnswerHeaders,
)
from igw.parsing.long_strings import Arriving
from igw.parsing.multipart import arriving
from igw.request import Head, Request


class State(Enum):
    """Where an exchange stands; see the table above."""

    START = auto()
    READING = auto()
    DECIDING = auto()
    ROUTED = auto()
    ANSWERING = auto()
    DONE = auto()


_CHANGEABLE = (BodyMode.FULL_DUPLEX_STREAMED, BodyMode.BUFFERED)
"""Modes in which bytes of an answer may be held back a little: pieces are sent by us, or there is only one."""

_NO_ANSWER = Answer(None, {}, changeable=False)
"""Until there is one; nothing is fed to it."""


class Session:
    """One exchange. Call `receive()` with each event and carry out the effects in order."""

    def __init__(
        self,
        max_body_bytes: int,
        *,
        name_retries: bool = True,
        tell_scores: bool = False,
        ignores_subsets: bool = False,
    ) -> None:
        self.state = State.START
        self._name_retries = name_retries
        self._tell_scores = tell_scores
        self._ignores_subsets = ignores_subsets
        self._max_body_bytes = max_body_bytes
        self._modes = Modes()
        self._head: Head | None = None
        self._body: bytes | bytearray = b""
        self._trailers = False
        self._delivery = Delivery()
        self._pick_in = "request_headers"  # the part of the exchange whose reply will carry the pick
        self._request: Request | None = None  # as it was decided, without its body
        self._answer = _NO_ANSWER

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
        if self._ignores_subsets:
            self._head = msgspec.structs.replace(self._head, subset=None)
        unread = event.modes.request in (BodyMode.NONE, BodyMode.STREAMED)
        if event.end or unread:
            return self._decide(unread=unread and not event.end)
        declared = event.head.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            return self.rejected(self._too_large())
        self.state = State.READING
        return () if self._duplex else (Acknowledge("request_headers"),)

    def _request_body(self, event: RequestBody) -> Sequence[Effect]:
        self._pick_in = "request_body"
        if not self._body:
            self._body = event.data  # all of it, where the proxy kept it until it was whole
        else:
            if not isinstance(self._body, Arriving):
                kind = self._head.headers.get("content-type", "") if self._head is not None else ""
                self._body = arriving(kind, self._body)
            self._body.add(event.data)
        if event.subset is not None and self._head is not None and not self._ignores_subsets:
            self._head = msgspec.structs.replace(self._head, subset=event.subset)
        if len(self._body) > self._max_body_bytes:
            return self.rejected(self._too_large())
        # A buffered body comes in one message; `end` is not set on it when trailers follow.
        if self._modes.request is BodyMode.BUFFERED_PARTIAL and not event.end:
            return self._decide(unread=True)  # what the proxy could keep of it, perhaps not all
        return self._decide() if event.end or not self._duplex else ()

    def _request_trailers(self, _event: RequestTrailers) -> Sequence[Effect]:
        self._trailers = True
        if not self._duplex:
            self._pick_in = "request_trailers"
        return self._decide()

    def _decide(self, *, unread: bool = False) -> Sequence[Effect]:
        if self._head is None:
            raise ProtocolError("no request headers")
        self.state = State.DECIDING
        return (Decide(self._head, None if unread else self._body),)

    def decided(self, decision: Decision, rewritten: bytes | None = None) -> Sequence[Effect]:
        """Take the pick and return the replies that carry it; *rewritten* is what goes on in the body's place, if anything."""
        if self.state is not State.DECIDING or self._head is None:
            raise ProtocolError(f"a pick in state {self.state.name}")
        self.state = State.ROUTED
        self._delivery, self._request = decision.delivery, decision.request
        remove = [name for name in self._head.headers if name in CONTROL_HEADERS]
        # Not every gateway understands the ordered list that protocol 004 allows; an original-destination cluster does not.
        destination = decision.destination if self._name_retries else decision.destination.partition(",")[0]
        body, self._body = memoryview(self._body if rewritten is None else rewritten), b""
        length = len(body) if rewritten is not None and "content-length" in self._head.headers else None
        scores = decision.totals() if self._tell_scores else {}
        if not self._duplex:
            return (SendPick(self._pick_in, decision, destination, remove, rewritten, length, scores),)
        effects: list[Effect] = [
            SendPick("request_headers", decision, destination, remove, None, length, scores)
        ]
        if self._pick_in == "request_body":
            effects += self._pieces(body)
        if self._trailers:
            effects.append(Acknowledge("request_trailers"))
        return effects

    def rejected(self, rejected: Rejected) -> Sequence[Effect]:
        """Take a refusal and return the answer to the client."""
        self.state = State.DONE
        self._body = b""
        return (Refuse(rejected, self._grpc, self._head.path if self._head is not None else ""),)

    def _pieces(self, body: memoryview) -> list[Effect]:
        """Cut *body* for the way back, without copying; an empty one is still one piece: the proxy waits for its end."""
        cuts = range(0, len(body), PIECE_BYTES) or range(1)
        last = cuts[-1]
        return [
            PassBody("request_body", body[at : at + PIECE_BYTES], end=at == last and not self._trailers)
            for at in cuts
        ]

    # The answer -------------------------------------------------------------------------------------------------

    def _response_headers(self, event: ResponseHeaders) -> Sequence[Effect]:
        if self.state is State.START:
            self._modes = event.modes
        headers = told_with_answer(self._delivery, event.served_by)
        changeable = self._modes.response in _CHANGEABLE and not event.end
        self._answer = answer = Answer(self._request, event.headers, changeable=changeable)
        remove = answer.removed_headers
        reply = SetAnswerHeaders(headers, remove) if headers or remove else Acknowledge("response_headers")
        self.state = State.ANSWERING
        ended = self._end() if event.end else []
        return [Answered(event.status, event.served_by), *ended, reply]

    def _answer_without_headers(self, event: ResponseBody | ResponseTrailers) -> Sequence[Effect]:
        """Begin with what the proxy shows first. Nothing in it is changed: its length may have been promised."""
        self._answer = Answer(self._request, {}, changeable=False)
        self.state = State.ANSWERING
        return self.receive(event)

    def _response_body(self, event: ResponseBody) -> Sequence[Effect]:
        answer, mode = self._answer, self._modes.response
        effects: list[Effect] = [] if answer.size_bytes or not event.data else [FirstByte()]
        data = answer.passed(event.data, last=event.end or mode is BodyMode.BUFFERED)
        if event.end:
            effects += self._end()
        if mode is not BodyMode.FULL_DUPLEX_STREAMED:
            effects.append(Acknowledge("response_body") if data == event.data else ReplaceBody(data))
        elif data or event.end:
            effects.append(PassBody("response_body", data, event.end))
        return effects

    def _response_trailers(self, event: ResponseTrailers) -> Sequence[Effect]:
        effects = self._end(event.status) if self.state is State.ANSWERING else []
        if rest := self._answer.rest():
            effects.append(PassBody("response_body", rest, end=False))
        return [*effects, Acknowledge("response_trailers")]

    def _end(self, status: int | None = None) -> list[Effect]:
        self.state = State.DONE
        return [Ended(self._answer.usage(), self._answer.size_bytes, status)]

    # Small questions --------------------------------------------------------------------------------------------

    @property
    def answer_is_hidden(self) -> bool:
        """Whether the proxy shows of answers no more than their headers, so that their ends cannot be seen."""
        return self._modes.response is BodyMode.NONE

    @property
    def _duplex(self) -> bool:
        return self._modes.request is BodyMode.FULL_DUPLEX_STREAMED

    @property
    def _grpc(self) -> bool:
        kind = self._head.headers.get("content-type", "") if self._head is not None else ""
        return kind == "application/grpc" or kind.startswith(("application/grpc+", "application/grpc;"))

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request body is larger than {self._max_body_bytes} bytes")


def _acknowledging(part: str) -> Callable[[Session, Any], Sequence[Effect]]:
    return lambda _session, _event: (Acknowledge(part),)


_HANDLERS: dict[tuple[State, type[Event]], Callable[[Session, Any], Sequence[Effect]]] = {
    (State.START, RequestHeaders): Session._request_headers,
    (State.START, ResponseHeaders): Session._response_headers,
    (State.READING, RequestBody): Session._request_body,
    (State.READING, RequestTrailers): Session._request_trailers,
    (State.ROUTED, RequestBody): _acknowledging("request_body"),
    (State.ROUTED, RequestTrailers): _acknowledging("request_trailers"),
    (State.ROUTED, ResponseHeaders): Session._response_headers,
    (State.ROUTED, ResponseBody): Session._answer_without_headers,
    (State.ROUTED, ResponseTrailers): Session._answer_without_headers,
    (State.ANSWERING, RequestBody): _acknowledging("request_body"),
    (State.ANSWERING, RequestTrailers): _acknowledging("request_trailers"),
    (State.ANSWERING, ResponseBody): Session._response_body,
    (State.ANSWERING, ResponseTrailers): Session._response_trailers,
    (State.DONE, RequestTrailers): _acknowledging("request_trailers"),
    (State.DONE, ResponseTrailers): Session._response_trailers,
}
