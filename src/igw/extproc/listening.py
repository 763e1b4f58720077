"""The ports of a process that a gateway asks over ext_proc: gRPC, its health, and pages over HTTP. What is served there is the caller's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import grpc
import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CollectorRegistry

from igw.endpoint import hostport
from igw.errors import ConfigError
from igw.extproc.certificates import Tls, credentials
from igw.extproc.health import HealthSays
from igw.telemetry import exposition

Page = Callable[[], bytes]


class Ports(msgspec.Struct, frozen=True):
    """Where to listen. 0 takes a free port; the flags are `--grpc-port`, `--grpc-health-port` and `--metrics-port`."""

    bind_address: str
    grpc: int
    health: int
    metrics: int
    dashboard: int | None = None
    """What is served for metrics is served there too (`--dashboard-port`); None: nowhere else."""


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
    waiting_room: str = ""
    """Empty: there is none."""
    dashboard: str = ""
    """Likewise: it is where metrics are alone."""


async def listen(
    stack: contextlib.AsyncExitStack,
    ports: Ports,
    handlers: Sequence[grpc.GenericRpcHandler],
    says: HealthSays,
    limits: Limits,
    tls: Tls | None = None,
) -> tuple[str, str]:
    """Serve *handlers* and health until *stack* is left; return the addresses for gRPC and health, which never has TLS.

    Health answers until the last exchange is over.

    Raises:
        ConfigError: a port that is taken, or a certificate that cannot be used.
    """
    health_server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(says.on_health, health_server)
    where = hostport(ports.bind_address, ports.health)
    with _told("--grpc-health-port", where):
        health_bound = health_server.add_insecure_port(where)
    server = _grpc_server(limits)
    server.add_generic_rpc_handlers(tuple(handlers))
    health_pb2_grpc.add_HealthServicer_to_server(says.on_grpc, server)
    spoken = credentials(tls) if tls is not None else None
    where = hostport(ports.bind_address, ports.grpc)
    with _told("--grpc-port", where):
        bound = server.add_secure_port(where, spoken) if spoken else server.add_insecure_port(where)

    async def stop() -> None:
        await server.stop(max(0.0, limits.drain_seconds - says.stopping_seconds))

    await health_server.start()
    stack.push_async_callback(health_server.stop, 0)
    await server.start()
    stack.push_async_callback(stop)
    return hostport(ports.bind_address, bound), hostport(ports.bind_address, health_bound)


def _grpc_server(limits: Limits) -> grpc.aio.Server:
    longest = limits.max_body_bytes + (1 << 20)
    return grpc.aio.server(
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", longest),
                 ("grpc.max_send_message_length", longest),
                 # Envoy pings to find out whether we still live while it waits; by default that counts as abuse.
                 ("grpc.http2.max_ping_strikes", 0),
                 # Windows that grow with the bandwidth let tens of megabytes of a large body pile up here, unread.
                 ("grpc.http2.bdp_probe", 0)]
    )  # fmt: skip


async def show(
    stack: contextlib.AsyncExitStack,
    ports: Ports,
    registry: CollectorRegistry,
    pages: Mapping[str, Page],
    routes: Iterable[web.AbstractRouteDef] = (),
    guard: Middleware | None = None,
) -> tuple[str, str]:
    """Serve `/metrics` of *registry*, *pages* of JSON by path and *routes* until *stack* is left; return the addresses for metrics and dashboard.

    *guard* lets requests through, or answers them itself; without one everybody may ask everything.

    Raises:
        ConfigError: a port that is taken.
    """

    async def metrics(request: web.Request) -> web.Response:
        body, kind = exposition.asked(registry, request.headers.get("accept", ""))
        return web.Response(body=body, headers={"content-type": kind})

    async def json(request: web.Request) -> web.Response:
        return web.Response(body=pages[request.path](), content_type="application/json")

    app = web.Application(middlewares=[guard] if guard is not None else [])
    app.router.add_get("/metrics", metrics)
    app.router.add_routes(routes)
    for path in pages:
        app.router.add_get(path, json)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    metrics_address = await _site(runner, "--metrics-port", ports.bind_address, ports.metrics)
    if ports.dashboard is None:
        return metrics_address, ""
    return metrics_address, await _site(runner, "--dashboard-port", ports.bind_address, ports.dashboard)


async def _site(runner: web.AppRunner, flag: str, address: str, port: int) -> str:
    others = len(runner.addresses)
    with _told(flag, hostport(address, port)):
        await web.TCPSite(runner, address, port, reuse_port=False).start()
    return hostport(address, int(runner.addresses[others][1]))


@contextlib.contextmanager
def _told(flag: str, where: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            flag, f"cannot listen on {where}; choose another port, or 0 for a free one"
        ) from error
