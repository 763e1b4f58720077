r"""One exchange of the body-based router as a pure state machine: events in, effects out. No protobuf, no I/O, no clock.

The events are those of `extproc.events`. What is answered when, by the mode in which the proxy sends the request's body:

| request body mode    | the chain is run           | changes are answered in  | body goes back            |
|----------------------|----------------------------|--------------------------|---------------------------|
| FULL_DUPLEX_STREAMED | at the end of the body     | the reply to the headers | in pieces, then trailers  |
| BUFFERED(_PARTIAL)   | with the one body message  | the reply to the body    | only if it has changed    |
| STREAMED, NONE       | never: the route is chosen before the body can be read; what a client says in our headers is dropped   |
| any, headers end it  | never, likewise            |                          |                           |

    state \ event   headers     body         trailers
    START           READING*    -            -
    READING         -           ASKED*       ASKED
    ASKED           -           -            -
    PASSED          -           PASSED       PASSED

`*` or as the table above says. Out of ASKED leads `changed()`, `listed()`, or `rejected()` to PASSED. Answers are looked at in no state: a
proxy that shows them gets every piece back at once, so that a large one costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec

from igw.errors import Rejected, TooLarge
from igw.extproc import events as e
from igw.extproc.events import Acknowledge, BodyMode, Event, PassBody, ProtocolError, Refuse
from igw.parsing.api import Body
from igw.request import Head

MODELS_PATH = "/v1/models"


class RunChain(msgspec.Struct, frozen=True):
    """Run the plugins over this request, then call `changed()` or `rejected()`."""

    head: Head
    body: Body


class ListModels(msgspec.Struct, frozen=True):
    """Find out which models there are, then call `listed()`."""

    model: str
    """The one that is asked for, or empty for all."""


class SetHeaders(msgspec.Struct, frozen=True):
    """Reply with changed headers, and let the route be chosen anew; in the reply to `request_headers` or `request_body`."""

    part: str
    headers: Mapping[str, str | None]
    """None removes."""
    body: bytes | None = None
    """In the place of the one that the proxy kept."""


class Answer(msgspec.Struct, frozen=True):
    """Answer the client in the model servers' place, with JSON."""

    status: int
    body: bytes


Effect: TypeAlias = RunChain | ListModels | SetHeaders | Answer | Acknowledge | PassBody | Refuse


class State(Enum):
    """Where the request stands; see the table above."""

    START = auto()
    READING = auto()
    ASKED = auto()
    PASSED = auto()


class Session:
    """One exchange. Call `receive()` with each event and carry out the effects in order."""

    def __init__(
        self, unsaid: Mapping[str, str | None], max_body_bytes: int, *, lists_models: bool = False
    ) -> None:
        """*unsaid* are the headers that only the router may set; *lists_models*: whether it answers `GET /v1/models`."""
        self.state = State.START
        self._unsaid = unsaid
        self._max_body_bytes = max_body_bytes
        self._lists_models = lists_models
        self._modes = e.Modes()
        self._head: Head | None = None
        self._body: Body = b""
        self._had_body = self._trailers = False

    def receive(self, event: Event) -> Sequence[Effect]:
        """Return what is to be done about *event*.

        Raises:
            ProtocolError: the proxy broke the order; the exchange cannot go on.
        """
        handler = _ANSWERS.get(type(event)) or _HANDLERS.get((self.state, type(event)))
        if handler is None:
            raise ProtocolError(f"{type(event).__name__} in state {self.state.name}")
        return handler(self, event)

    def _headers(self, event: e.RequestHeaders) -> Sequence[Effect]:
        head = event.head
        self._head, self._modes = head, event.modes
        if self._lists_models and head.method == "GET":
            path = head.path.partition("?")[0].rstrip("/")
            if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
                self.state = State.ASKED
                return (ListModels(unquote(path[len(MODELS_PATH) + 1 :])),)
        if event.end or event.modes.request in (BodyMode.NONE, BodyMode.STREAMED):
            self.state = State.PASSED
            return (SetHeaders("request_headers", self._unsaid),)
        declared = head.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            return self.rejected(self._too_large())
        self.state = State.READING
        return () if self._duplex else (Acknowledge("request_headers"),)

    def _body_piece(self, event: e.RequestBody) -> Sequence[Effect]:
        self._had_body = True
        if not self._body:
            self._body = event.data  # all of it, where the proxy kept it until it was whole
        elif isinstance(self._body, bytearray):
            self._body += event.data
        else:
            self._body = bytearray(self._body) + event.data
        if len(self._body) > self._max_body_bytes:
            return self.rejected(self._too_large())
        # A buffered body comes in one message; `end` is not set on it when trailers follow.
        return self._run() if event.end or not self._duplex else ()

    def _body_trailers(self, _event: e.RequestTrailers) -> Sequence[Effect]:
        self._trailers = True
        return self._run()

    def _late_body(self, _event: e.RequestBody) -> Sequence[Effect]:
        return (Acknowledge("request_body"),)

    def _late_trailers(self, _event: e.RequestTrailers) -> Sequence[Effect]:
        return (Acknowledge("request_trailers"),)

    def _answer_headers(self, event: e.ResponseHeaders) -> Sequence[Effect]:
        if self.state is State.START:
            self._modes = event.modes
        return (Acknowledge("response_headers"),)

    def _answer_piece(self, event: e.ResponseBody) -> Sequence[Effect]:
        if self._modes.response is BodyMode.FULL_DUPLEX_STREAMED:
            return (PassBody("response_body", event.data, event.end),)
        return (Acknowledge("response_body"),)

    def _answer_trailers(self, _event: e.ResponseTrailers) -> Sequence[Effect]:
        return (Acknowledge("response_trailers"),)

    def _run(self) -> Sequence[Effect]:
        if self._head is None:
            raise ProtocolError("no request headers")
        self.state = State.ASKED
        if not self._body:
            return self.changed(self._unsaid)
        return (RunChain(self._head, self._body),)

    def changed(self, headers: Mapping[str, str | None], body: bytes | None = None) -> Sequence[Effect]:
        """Take what the chain has made of the request, *body* None if it is as it came; return the replies that carry it."""
        if self.state is not State.ASKED or self._head is None:
            raise ProtocolError(f"changes in state {self.state.name}")
        self.state = State.PASSED
        onward, self._body = memoryview(self._body if body is None else body), b""
        if (
            not self._trailers
            and "content-length" in self._head.headers
            and (self._duplex or body is not None)
        ):
            # A proxy that streams forgets the length, and routes go by it.
            headers = {**headers, "content-length": str(len(onward))}
        if not self._duplex:
            if not self._had_body:  # trailers alone: the headers are gone
                return (Acknowledge("request_trailers"),)
            return (SetHeaders("request_body", headers, body),)
        effects: list[Effect] = [SetHeaders("request_headers", headers)]
        if self._had_body:
            effects += self._pieces(onward)
        if self._trailers:
            effects.append(Acknowledge("request_trailers"))
        return effects

    def listed(self, status: int, body: bytes) -> Sequence[Effect]:
        """Take the answer to a question for models."""
        self.state = State.PASSED
        return (Answer(status, body),)

    def rejected(self, rejected: Rejected) -> Sequence[Effect]:
        """Take a refusal and return the answer to the client."""
        self.state = State.PASSED
        self._body = b""
        head = self._head
        if head is None:
            return (Refuse(rejected),)
        grpc = head.headers.get("content-type", "").startswith("application/grpc")
        return (Refuse(rejected, grpc, head.path),)

    def _pieces(self, body: memoryview) -> list[PassBody]:
        """Cut *body* for the way back, without copying; an empty one is still one piece: the proxy waits for its end."""
        cuts = range(0, len(body), e.PIECE_BYTES) or range(1)
        return [
            PassBody("request_body", body[at : at + e.PIECE_BYTES], end=at == cuts[-1] and not self._trailers)
            for at in cuts
        ]

    @property
    def _duplex(self) -> bool:
        return self._modes.request is BodyMode.FULL_DUPLEX_STREAMED

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request body is larger than {self._max_body_bytes} bytes")


_HANDLERS: dict[tuple[State, type[Event]], Callable[[Session, Any], Sequence[Effect]]] = {
    (State.START, e.RequestHeaders): Session._headers,
    (State.READING, e.RequestBody): Session._body_piece,
    (State.READING, e.RequestTrailers): Session._body_trailers,
    (State.PASSED, e.RequestBody): Session._late_body,
    (State.PASSED, e.RequestTrailers): Session._late_trailers,
}
_ANSWERS: dict[type[Event], Callable[[Session, Any], Sequence[Effect]]] = {
    e.ResponseHeaders: Session._answer_headers,
    e.ResponseBody: Session._answer_piece,
    e.ResponseTrailers: Session._answer_trailers,
}
