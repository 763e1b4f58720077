"""The gRPC side of ext_proc: one coroutine per exchange, which reads, lets the session say what to do, and writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import msgspec
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from igw.decision import Decision
from igw.errors import Rejected
from igw.extproc import mapping
from igw.extproc import session as s
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.reading import read
from igw.parsing.usage import Usage, usage_in
from igw.request import Request

log = structlog.get_logger("extproc")

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
POOL_KEY = "x-igw-pool"
"""gRPC initial metadata by which a gateway names the pool of a route: `namespace/name`."""
MODE_KEY = "x-igw-mode"
"""gRPC initial metadata: `lean` when the answer is reported by access log and not shown to the picker."""


class ServerSettings(msgspec.Struct, frozen=True):
    """What the server must know beside where to ask."""

    default_pool: str = ""
    """`namespace/name` for gateways that name no pool; empty: the only one there is."""
    max_body_bytes: int = 64 << 20
    """Larger requests are answered 413 when their body passes through the picker in pieces."""


class Exchange:
    """One request on the wire, from its headers to the end of what the proxy shows us of it."""

    def __init__(self, server: ExtProc, pool: str, *, lean: bool) -> None:
        self._server = server
        self._pool = pool
        self._lean = lean
        self._session = s.Session(server.settings.max_body_bytes, name_retries=lean or server.name_retries)
        self._request: Request | None = None
        self._decision: Decision | None = None
        self._answered: s.Answered | None = None
        self._started_at = server.clock()
        self._first_byte_at: float | None = None

    async def run(self, stream: Any) -> None:
        """Read until the proxy ends the exchange. Whatever happens, the reservation is settled or left to the access log.

        A lean proxy that took the pick ends the exchange in order, and its access log tells the rest. One that resets it may never
        have read the pick: its client left, and no record will name our decision.
        """
        told_by_access_log = False
        try:
            while await self._step(stream):
                pass
            told_by_access_log = self._lean and self._session.state is s.State.ROUTED
        finally:
            if not told_by_access_log:
                self._settle(End.ABORTED)

    async def _step(self, stream: Any) -> bool:
        """Read one message and do what it asks for; False at the end. Its own frame, so that no body outlives its step."""
        message = await stream.read()
        if message is grpc.aio.EOF:
            return False
        event = mapping.event(message, self._pool)
        del message  # it holds the body a second time
        for effect in self._session.receive(event):
            await _CARRY_OUT[type(effect)](self, stream, effect)
        return True

    async def _decide(self, stream: Any, effect: s.Decide) -> None:
        try:
            self._request = read(effect.head, effect.body)
            self._decision = await self._server.route(self._request)
        except Rejected as rejected:
            replies = self._session.rejected(rejected)
        else:
            replies = self._session.decided(self._decision)
            self._request = self._decision.request  # the one without the body
        self._server.decided_after(self._server.clock() - self._started_at)
        for reply in replies:
            await _CARRY_OUT[type(reply)](self, stream, reply)

    async def _reply(self, stream: Any, effect: Any) -> None:
        await stream.write(mapping.reply(effect))

    async def _refuse(self, stream: Any, effect: s.Refuse) -> None:
        self._server.refused(self._request, effect.rejected)
        await self._reply(stream, effect)

    async def _note_answered(self, _stream: Any, effect: s.Answered) -> None:
        self._answered = effect

    async def _note_first_byte(self, _stream: Any, _effect: s.FirstByte) -> None:
        self._first_byte_at = self._server.clock()
        if self._decision is not None:
            self._server.started(self._decision)

    async def _note_end(self, _stream: Any, effect: s.Ended) -> None:
        self._settle(End.COMPLETE, effect)

    def _settle(self, end: End, ended: s.Ended | None = None) -> None:
        if self._decision is None:
            return
        answered, now = self._answered, self._server.clock()
        self._server.ledger.close(
            self._decision.id,
            Outcome(
                end=end,
                status=answered.status if answered else 0,
                served_by=answered.served_by if answered else "",
                ttft_seconds=self._first_byte_at - self._started_at if self._first_byte_at else None,
                duration_seconds=now - self._started_at,
                response_bytes=ended.response_bytes if ended else None,
                usage=usage_in(ended.tail) if ended else Usage(),
            ),
        )
        self._decision = None


_CARRY_OUT: dict[type[Any], Callable[[Exchange, Any, Any], Awaitable[None]]] = {
    s.Decide: Exchange._decide,
    s.Acknowledge: Exchange._reply,
    s.SendPick: Exchange._reply,
    s.SetAnswerHeaders: Exchange._reply,
    s.PassBody: Exchange._reply,
    s.Refuse: Exchange._refuse,
    s.Answered: Exchange._note_answered,
    s.FirstByte: Exchange._note_first_byte,
    s.Ended: Exchange._note_end,
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
        self.ledger = ledger
        self.settings = settings
        self.name_retries = False
        """Whether a gateway of others gets the ordered list of endpoints; ours always does."""
        self.clock = clock
        self.refused = refused
        self.decided_after = decided_after
        self.started = started

    async def process(self, _requests: Any, context: Any) -> None:
        """Serve one exchange (gRPC method `Process`)."""
        named = dict(context.invocation_metadata() or ())
        pool = str(named.get(POOL_KEY, self.settings.default_pool))
        try:
            await Exchange(self, pool, lean=named.get(MODE_KEY) == "lean").run(context)
        except s.ProtocolError as error:
            log.warning("exchange_out_of_order", error=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except Exception as error:
            # A fault in one request stays in it; the proxy's failure mode decides. A reset by the proxy is a cancellation, not a fault.
            log.exception("exchange_failed")
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error: {type(error).__name__}")

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the gRPC handler of the service."""
        method = grpc.stream_stream_rpc_method_handler(
            self.process,
            request_deserializer=pb.ProcessingRequest.FromString,
            response_serializer=pb.ProcessingResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})
