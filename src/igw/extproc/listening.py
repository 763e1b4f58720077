"""The ports of a process that a gateway asks over ext_proc: gRPC, its health, and pages over HTTP. What is served there is the caller's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
import msgspec
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, exposition

from igw.endpoint import hostport
from igw.errors import ConfigError
from igw.extproc.server import SERVICE

HEALTH_SERVICES = ("liveness", "readiness", SERVICE, "")
"""Names that protocol 004 asks of the health service, and the empty one for any client. A stopping process is still alive."""

Page = Callable[[], bytes]


class Ports(msgspec.Struct, frozen=True):
    """Where to listen. 0 takes a free port; the flags are `--grpc-port`, `--grpc-health-port` and `--metrics-port`."""

    bind_address: str
    grpc: int
    health: int
    metrics: int


class Limits(msgspec.Struct, frozen=True):
    """What exchanges get."""

    max_body_bytes: int
    drain_seconds: float
    """How long those that are open may take once the process is told to stop."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a process listens, as `ip:port`."""

    grpc: str
    health: str
    metrics: str


class HealthSays:
    """What the health service says."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._stopping_at: float | None = None

    @property
    def stopping_seconds(self) -> float:
        """For how long it has said that no new exchange should come."""
        return 0.0 if self._stopping_at is None else asyncio.get_running_loop().time() - self._stopping_at

    async def serving(self) -> None:
        """Say that everything is well."""
        await self._say(HEALTH_SERVICES, health_pb2.HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """Say that no new exchange should come."""
        self._stopping_at = asyncio.get_running_loop().time()
        await self._say(HEALTH_SERVICES[1:], health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _say(self, services: Sequence[str], status: int) -> None:
        for service in services:
            await self.servicer.set(service, status)


async def listen(
    stack: contextlib.AsyncExitStack,
    ports: Ports,
    handlers: Sequence[grpc.GenericRpcHandler],
    says: HealthSays,
    limits: Limits,
    credentials: grpc.ServerCredentials | None = None,
) -> tuple[str, str]:
    """Serve *handlers* and health until *stack* is left; return the addresses for gRPC (with TLS if there are *credentials*) and health.

    Raises:
        ConfigError: a port that is taken.
    """
    longest = limits.max_body_bytes + (1 << 20)
    server = grpc.aio.server(
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", longest),
                 ("grpc.max_send_message_length", longest),
                 # Envoy pings to find out whether we still live while it waits; by default that counts as abuse.
                 ("grpc.http2.max_ping_strikes", 0),
                 # Windows that grow with the bandwidth let tens of megabytes of a large body pile up here, unread.
                 ("grpc.http2.bdp_probe", 0)]
    )  # fmt: skip
    server.add_generic_rpc_handlers(tuple(handlers))
    health_server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for each in (server, health_server):
        health_pb2_grpc.add_HealthServicer_to_server(says.servicer, each)
    where = hostport(ports.bind_address, ports.grpc)
    with _told("--grpc-port", where):
        bound = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
    await server.start()

    async def stop() -> None:
        await server.stop(max(0.0, limits.drain_seconds - says.stopping_seconds))

    stack.push_async_callback(stop)
    where = hostport(ports.bind_address, ports.health)
    with _told("--grpc-health-port", where):
        health_bound = health_server.add_insecure_port(where)
    await health_server.start()
    stack.push_async_callback(health_server.stop, 0)
    return hostport(ports.bind_address, bound), hostport(ports.bind_address, health_bound)


async def show(
    stack: contextlib.AsyncExitStack, ports: Ports, registry: CollectorRegistry, pages: Mapping[str, Page]
) -> str:
    """Serve `/metrics` of *registry*, and *pages* of JSON by path, until *stack* is left; return the address.

    Raises:
        ConfigError: a port that is taken.
    """

    async def metrics(_request: web.Request) -> web.Response:
        body = exposition.generate_latest(registry)
        return web.Response(body=body, headers={"content-type": exposition.CONTENT_TYPE_LATEST})

    async def json(request: web.Request) -> web.Response:
        return web.Response(body=pages[request.path](), content_type="application/json")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    for path in pages:
        app.router.add_get(path, json)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, ports.bind_address, ports.metrics, reuse_port=False)
    with _told("--metrics-port", hostport(ports.bind_address, ports.metrics)):
        await site.start()
    return hostport(ports.bind_address, int(runner.addresses[0][1]))


@contextlib.contextmanager
def _told(flag: str, where: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            flag, f"cannot listen on {where}; choose another port, or 0 for a free one"
        ) from error
