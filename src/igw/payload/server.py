"""The gRPC side of the body-based router: one coroutine per exchange, which reads, lets the session say what to do, and writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
import msgspec
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from prometheus_client.registry import CollectorRegistry

from igw.endpoint import Pool
from igw.errors import Rejected
from igw.extproc import events as e
from igw.extproc import mapping as extproc_mapping
from igw.extproc.server import SERVICE
from igw.parsing.registry import Apis
from igw.payload import models
from igw.payload.builtin import DEFAULT, Named
from igw.payload.catalogue import Catalogue
from igw.payload.chain import Chain
from igw.payload.fields import changed
from igw.payload.mapping import reply
from igw.payload.observed import Observer
from igw.payload.session import ListModels, RunChain, Session

log = structlog.get_logger("body-router")

ROLE = "bbr"
"""What a gateway says under `extproc.server.ROLE_KEY` to reach us where a picker serves on the same port."""
POOLS_KEY = "x-igw-pools"
"""gRPC initial metadata by which a gateway names the pools whose models it lists: `namespace/name`, with commas."""


class BodyRouter:
    """The service: what exchanges share."""

    def __init__(
        self,
        registry: CollectorRegistry,
        clock: Callable[[], float],
        plugins: Sequence[Named] = DEFAULT,
        *,
        max_body_bytes: int = 64 << 20,
        assumed: e.Modes = e.Modes(),  # noqa: B008 (immutable)
    ) -> None:
        """*assumed* is how a proxy sends bodies that does not say; *clock* is for the durations of plugins."""
        self._observer = Observer(registry, clock)
        self._chain = Chain([self._observer.timed(named) for named in plugins])
        self._max_body_bytes = max_body_bytes
        self._assumed = assumed
        self._apis = Apis()
        self._base_models: Mapping[str, str] = {}
        self._pools: Mapping[str, Pool] = {}
        self._catalogue: Catalogue | None = None

    def adopt(self, base_models: Mapping[str, str], pools: Mapping[str, Pool]) -> None:
        """Go by these from the next request on: adapter or base model -> base model, and pools by `namespace/name`."""
        self._base_models, self._pools = base_models, pools

    def follow(self, catalogue: Catalogue) -> None:
        """Answer `GET /v1/models` with what *catalogue* says of the pools; without one it passes like any other request."""
        self._catalogue = catalogue

    async def process(self, _requests: Any, context: Any) -> None:
        """Serve one exchange (gRPC method `Process`)."""
        named = dict(context.invocation_metadata() or ())
        pools = [name for name in str(named.get(POOLS_KEY, "")).split(",") if name]
        session = Session(
            self._chain.unsaid, self._max_body_bytes, lists_models=bool(self._catalogue and self._pools)
        )
        try:
            while await self._step(context, session, pools):
                pass
        except e.ProtocolError as error:
            log.warning("exchange_out_of_order", error=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except Exception as error:
            # A fault in one request, or in a plugin of somebody's, stays in it; the proxy's failure mode decides.
            log.exception("exchange_failed")
            await context.abort(grpc.StatusCode.UNKNOWN, f"internal error: {type(error).__name__}")

    async def _step(self, stream: Any, session: Session, pools: Sequence[str]) -> bool:
        """Read one message and do what it asks for; False at the end. Its own frame, so that no body outlives its step."""
        message = await stream.read()
        if message is grpc.aio.EOF:
            return False
        event = self._event(message)
        del message  # it holds the body a second time
        for effect in session.receive(event):
            match effect:
                case RunChain():
                    replies = self._run(session, effect)
                case ListModels():
                    replies = await self._list(session, effect, pools)
                case _:
                    replies = (effect,)
            for each in replies:
                await stream.write(reply(self._refused(each) if isinstance(each, e.Refuse) else each))
        return True

    def _event(self, message: Any) -> e.Event:
        event = extproc_mapping.event(message, "")
        if isinstance(event, e.RequestHeaders | e.ResponseHeaders) and not message.HasField(
            "protocol_config"
        ):
            return msgspec.structs.replace(event, modes=self._assumed)
        return event

    def _run(self, session: Session, effect: RunChain) -> Sequence[Any]:
        try:
            changes = self._chain.run(effect.head, effect.body, self._base_models)
            body = changed(effect.body, changes.fields) if changes.fields else None
        except Rejected as rejected:
            return session.rejected(rejected)
        self._observer.passed(changes)
        return session.changed(changes.headers, body)

    def _refused(self, effect: e.Refuse) -> e.Refuse:
        self._observer.rejected(effect.rejected)
        api = self._apis.of(effect.path)
        return effect if api is None else msgspec.structs.replace(effect, shape=api.errors)

    async def _list(self, session: Session, effect: ListModels, pools: Sequence[str]) -> Sequence[Any]:
        if self._catalogue is None:
            raise e.ProtocolError("nobody knows the models")
        wanted = [self._pools[name] for name in pools or self._pools if name in self._pools]
        found = await self._catalogue.listed(wanted)
        if not effect.model:
            return session.listed(200, models.written(found))
        entry = found.get(effect.model)
        return session.listed(200, entry) if entry else session.listed(404, models.unknown(effect.model))

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the gRPC handler of the service, for a process that is nothing else."""
        method = grpc.stream_stream_rpc_method_handler(
            self.process,
            request_deserializer=pb.ProcessingRequest.FromString,
            response_serializer=pb.ProcessingResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})
