"""The gRPC side of ext_proc: one coroutine per exchange, which reads, lets the session say what to do, and writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import grpc
import msgspec
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from igw.decision import Decision
from igw.errors import EvictedInFlight, Rejected
from igw.extproc import events as e
from igw.extproc import mapping
from igw.extproc.session import Session, State
from igw.extproc.splice import spliced
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.api import Body
from igw.parsing.reading import read
from igw.parsing.registry import Apis
from igw.parsing.usage import NOTHING
from igw.request import Head, Request
from igw.telemetry.log import HEADERS

log = structlog.get_logger("extproc")

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
POOL_KEY = "x-igw-pool"
"""gRPC initial metadata by which a gateway names the pool of a route: `namespace/name`."""
MODE_KEY = "x-igw-mode"
"""gRPC initial metadata: `lean` when the end of the answer is reported by access log, whether or not its bytes are shown to the picker."""


ROLE_KEY = "x-igw-role"
"""gRPC initial metadata by which a gateway asks this port for something else than a pick."""

Process = Callable[[Any, Any], Awaitable[None]]


class ServerSettings(msgspec.Struct, frozen=True):
    """What the server must know beside where to ask."""

    default_pool: str = ""
    """`namespace/name` for gateways that name no pool; empty: the only one there is."""
    max_body_bytes: int = 64 << 20
    """Larger requests are answered 413 when their body passes through the picker in pieces."""
    fail_open_on_faults: bool = False
    """Whether a request that a fault of ours or of a plugin hits goes by the gateway's failure mode; else it is answered 500."""
    plain_text_errors: bool = False
    """Whether errors are a line of text, as upstream's picker has them, in the place of the API's own shape."""
    emit_endpoint_scores: bool = False
    """Whether picks come with the score of every candidate, in metadata."""
    ignores_subsets: bool = False
    """Whether all endpoints of a pool are candidates, whatever the gateway allows."""
    hidden_answer_seconds: float = 10.0
    """How long a request is taken to run whose end the gateway does not show. A guess."""
    patience_after_seconds: float = 1.0
    """After so long in a queue the proxy is asked to wait on; less than the least timeout for a message that proxies have."""
    patience_seconds: float = 3600.0
    """How long it is asked to wait. One whose `max_message_timeout` is less does not listen; our gateway's is this."""
    report_seconds: float = 2.0
    """How long the report of a request may take that was over, or whose client was gone, as soon as it was picked for."""


class Exchange:
    """One request on the wire, from its headers to the end of what the proxy shows us of it."""

    def __init__(self, server: ExtProc, pool: str, *, lean: bool) -> None:
        self._server = server
        self._pool = pool
        self._lean = lean
        settings = server.settings
        self._session = Session(
            settings.max_body_bytes,
            name_retries=lean or server.name_retries,
            tell_scores=settings.emit_endpoint_scores,
            ignores_subsets=settings.ignores_subsets,
        )
        self._refused = False
        self._request: Request | None = None
        self._decision: Decision | None = None
        self._answered: e.Answered | None = None
        self._started_at = server.clock()
        self._first_byte_at: float | None = None
        self._piece_at: float | None = None  # when the last piece of the answer came
        self._answering_seconds = 0.0  # spent on the answer so far
        self._body_went_on = False  # the last piece of a body was handed to gRPC: the pick went before it
        self._pick_went_on = (
            False  # the pick was, and no body has to follow it: the proxy may have read it or not
        )

    async def run(self, stream: Any) -> None:
        """Read until the proxy ends the exchange. Whatever happens, the reservation is settled or left to the access log.

        A lean proxy that took the pick ends the exchange in order, and its access log tells the rest. One that resets it may never
        have read the pick: its client left, and no record will name our decision. Or the answer was there before our end of the
        exchange: then there will be a record.
        """
        in_order = False
        try:
            while await self._step(stream):
                pass
            in_order = True
        finally:
            if self._decision is not None:
                self._server.running.pop(self._decision.id, None)
            if self._answered is not None:
                self._server.answered_after(self._answering_seconds)
            # Once an answer is through, or the last piece of a body, a reset means no more than an end: the proxy has what it wanted.
            state = self._session.state
            through = state is State.DONE or (state is State.ROUTED and self._body_went_on)
            if self._lean and (in_order or through):
                pass
            elif self._lean and state is State.ROUTED and self._pick_went_on:
                report = self._server.settings.report_seconds
                asyncio.get_running_loop().call_later(report, self._settle, End.ABORTED)
            elif in_order and self._session.answer_is_hidden:
                hidden = self._server.settings.hidden_answer_seconds
                asyncio.get_running_loop().call_later(hidden, self._settle, End.UNKNOWN)
            else:
                self._settle(End.ABORTED)

    async def _step(self, stream: Any) -> bool:
        """Read one message and do what it asks for; False at the end. Its own frame, so that no body outlives its step."""
        message = await stream.read()
        if message is grpc.aio.EOF:
            return False
        if self._refused:
            return True  # what was on its way by then is of no use to anybody
        began = self._server.clock()
        event = mapping.event(message, self._pool)
        if type(event) is e.ResponseBody and event.data:
            self._note_piece(began)
        del message  # it holds the body a second time
        for effect in self._session.receive(event):
            await _CARRY_OUT[type(effect)](self, stream, effect)
        if self._answered is not None:
            self._answering_seconds += self._server.clock() - began
        return True

    async def _decide(self, stream: Any, effect: e.Decide) -> None:
        settings, loop = self._server.settings, asyncio.get_running_loop()
        HEADERS.set(effect.head.headers)
        patience = loop.call_later(settings.patience_after_seconds, self._ask_for_patience, stream)
        try:
            self._request = self._server.read(effect.head, effect.body, self._server.apis)
            self._decision = await self._server.route(self._request)
            self._server.running[self._decision.id] = self, stream
            target = self._decision.request.target_model
            rewritten = spliced(effect.body, self._request, target) if target and effect.body else None
            replies = self._session.decided(self._decision, rewritten)
            self._request = self._decision.request  # the one without the body
        except Rejected as rejected:
            self._settle(End.ABORTED)  # if it was decided before it was found that its body cannot be changed
            replies = self._session.rejected(rejected)
        except Exception:
            if settings.fail_open_on_faults:
                raise
            log.exception("exchange_failed")
            self._settle(End.ABORTED)
            replies = self._session.rejected(Rejected("the endpoint picker failed; its log says why"))
        finally:
            patience.cancel()
        self._server.decided_after(self._server.clock() - self._started_at)
        for reply in replies:
            self._body_went_on = type(reply) is e.PassBody and reply.end
            self._pick_went_on = type(reply) is e.SendPick
            await _CARRY_OUT[type(reply)](self, stream, reply)

    def _ask_for_patience(self, stream: Any) -> None:
        """Tell the proxy that this one waits in a queue: it is not the picker that hangs. It can be told once for each message of its own."""
        self._server.keep(self._reply(stream, e.Patience(self._server.settings.patience_seconds)))

    async def evict(self, stream: Any) -> None:
        """Answer in the model server's place that the request was given up, and end the exchange."""
        if self._decision is None or self._session.state is State.DONE:
            return
        self._settle(End.ABORTED)
        for reply in self._session.rejected(EvictedInFlight("the request was ended to make room for others")):
            await _CARRY_OUT[type(reply)](self, stream, reply)

    async def _reply(self, stream: Any, effect: Any) -> None:
        await stream.write(mapping.reply(effect))

    async def _refuse(self, stream: Any, effect: e.Refuse) -> None:
        self._refused = True
        self._server.refused(self._request, effect.rejected)
        api = self._server.apis.of(effect.path)
        shape = (
            "plain"
            if self._server.settings.plain_text_errors
            else api.errors
            if api is not None
            else "openai"
        )
        await self._reply(stream, msgspec.structs.replace(effect, shape=shape))

    async def _note_answered(self, _stream: Any, effect: e.Answered) -> None:
        self._answered = effect

    async def _note_first_byte(self, _stream: Any, _effect: e.FirstByte) -> None:
        self._first_byte_at = self._server.clock()
        if self._decision is not None:
            self._server.started(self._decision)

    def _note_piece(self, now: float) -> None:
        last, self._piece_at = self._piece_at, now
        if last is not None and self._decision is not None and self._decision.request.stream:
            self._server.piece(self._decision, now - last)

    async def _note_end(self, _stream: Any, effect: e.Ended) -> None:
        if not self._lean:  # else the access log knows more: who served, after how many tries
            self._settle(End.COMPLETE, effect)

    def _settle(self, end: End, ended: e.Ended | None = None) -> None:
        if self._decision is None:
            return
        self._server.running.pop(self._decision.id, None)
        answered, now = self._answered, self._server.clock()
        status = ended.status if ended else None
        if status is None:
            status = answered.status if answered else 0
        self._server.ledger.close(
            self._decision.id,
            Outcome(
                end=end,
                status=status,
                served_by=answered.served_by if answered else "",
                ttft_seconds=self._first_byte_at - self._started_at if self._first_byte_at else None,
                duration_seconds=now - self._started_at,
                served_ttft_seconds=self._first_byte_at - self._decision.decided_at
                if self._first_byte_at
                else None,
                response_bytes=ended.response_bytes if ended else None,
                usage=ended.usage if ended else NOTHING,
            ),
        )
        self._decision = None


_CARRY_OUT: dict[type[Any], Callable[[Exchange, Any, Any], Awaitable[None]]] = {
    e.Decide: Exchange._decide,
    e.Acknowledge: Exchange._reply,
    e.SendPick: Exchange._reply,
    e.SetAnswerHeaders: Exchange._reply,
    e.PassBody: Exchange._reply,
    e.ReplaceBody: Exchange._reply,
    e.Refuse: Exchange._refuse,
    e.Answered: Exchange._note_answered,
    e.FirstByte: Exchange._note_first_byte,
    e.Ended: Exchange._note_end,
}


class ExtProc:
    """The service: what exchanges share."""

    def __init__(
        self,
        route: Callable[[Request], Awaitable[Decision]],
        ledger: Ledger,
        settings: ServerSettings,
        clock: Callable[[], float],
        refused: Callable[[Request | None, Rejected], None] = lambda _request, _rejected: None,
        decided_after: Callable[[float], None] = lambda _seconds: None,
        started: Callable[[Decision], None] = lambda _decision: None,
    ) -> None:
        self.route = route
        self.read: Callable[[Head, Body | None, Apis], Request] = read
        self.ledger = ledger
        self.settings = settings
        self.apis = Apis()
        """How requests are read; may be swapped between two of them."""
        self.roles: Mapping[str, Process] = {}
        """What else is served here, by the role that a gateway asks for."""
        self.running: dict[int, tuple[Exchange, Any]] = {}
        """Exchanges that are open although their pick is made, and their streams, by the decision's id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.around: Callable[[Process], Process] = lambda process: process
        """What is put around every exchange."""
        self.name_retries = False
        """Whether a gateway of others gets the ordered list of endpoints; ours always does."""
        self.clock = clock
        self.refused = refused
        self.decided_after = decided_after
        self.started = started
        self.piece: Callable[[Decision, float], None] = lambda _decision, _seconds: None
        """Told of every piece of a streamed answer but the first that passes through, and how long after the one before it it came."""
        self.answered_after: Callable[[float], None] = lambda _seconds: None
        """Told how long was spent on an answer that passed through."""

    def evict(self, decision_id: int) -> None:
        """End a request in flight whose answer passes through us and has not begun; nothing can be done about others."""
        if (found := self.running.get(decision_id)) is not None:
            exchange, stream = found
            self.keep(exchange.evict(stream))

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* beside an exchange. The proxy may be gone by then: that is no fault."""

        async def quiet() -> None:
            with contextlib.suppress(grpc.aio.BaseError, grpc.RpcError, asyncio.InvalidStateError):
                await work

        task = asyncio.get_running_loop().create_task(quiet())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def process(self, requests: Any, context: Any) -> None:
        """Serve one exchange (gRPC method `Process`)."""
        named = dict(context.invocation_metadata() or ())
        if ROLE_KEY in named and (other := self.roles.get(str(named[ROLE_KEY]))) is not None:
            return await other(requests, context)
        pool = str(named.get(POOL_KEY, self.settings.default_pool))
        try:
            await Exchange(self, pool, lean=named.get(MODE_KEY) == "lean").run(context)
        except e.ProtocolError as error:
            log.warning("exchange_out_of_order", error=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except Exception as error:
            # A fault in one request stays in it. What is not answered 500 is left to the proxy's failure mode. A reset by the proxy is a
            # cancellation, not a fault.
            log.exception("exchange_failed")
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error: {type(error).__name__}")

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the gRPC handler of the service."""
        method = grpc.stream_stream_rpc_method_handler(
            self.around(self.process),
            request_deserializer=pb.ProcessingRequest.FromString,
            response_serializer=pb.ProcessingResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})
