"""The body-based router as a process of its own, for gateways of others. In the picker's process `app` wires the same objects."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import structlog
from prometheus_client import CollectorRegistry

from igw.config.manifests import Manifests, load
from igw.discovery import files, snapshot
from igw.errors import ConfigError
from igw.extproc.certificates import Tls
from igw.extproc.events import BodyMode, Modes
from igw.extproc.health import HealthSays
from igw.extproc.listening import Addresses, Limits, Ports, listen, show
from igw.payload.builtin import chain
from igw.payload.catalogue import Catalogue
from igw.payload.chain import base_models
from igw.payload.server import BodyRouter

log = structlog.get_logger("body-router")


class ProcessSettings(msgspec.Struct, frozen=True):
    """What one process is started with. Ports: 0 takes a free one."""

    paths: tuple[Path, ...] = ()
    """Manifests with adapter maps, and pools whose models are to be listed; watched."""
    plugins: tuple[str, ...] = ()
    """`type:name[:json]`, in order."""
    streaming: bool = True
    """How a gateway is taken to send bodies that does not say: streamed both ways, or buffered."""
    bind_address: str = "127.0.0.1"
    grpc_port: int = 9004
    health_port: int = 9005
    metrics_port: int = 9090
    tls: Tls | None = None
    """Whether gRPC has TLS, and by which certificate."""
    max_body_bytes: int = 64 << 20
    shutdown_delay_seconds: float = 0.0
    drain_seconds: float = 30.0


class BodyRouterProcess:
    """One process. Build it, then `async with process.running() as addresses`."""

    def __init__(self, settings: ProcessSettings) -> None:
        """Raise `ConfigError` for plugins there are not, or ports that are the same."""
        _check_ports(settings)
        self._settings = settings
        self._registry = CollectorRegistry()
        mode = BodyMode.FULL_DUPLEX_STREAMED if settings.streaming else BodyMode.BUFFERED
        self._router = BodyRouter(
            self._registry,
            time.perf_counter,
            chain(settings.plugins),
            max_body_bytes=settings.max_body_bytes,
            assumed=Modes(mode, mode),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Addresses]:
        """Serve until the block is left; then refuse new exchanges and let the open ones end for `drain_seconds`.

        Raises:
            ConfigError: files that cannot be used, or a port that is taken.
        """
        settings, says = self._settings, HealthSays()
        manifests = load(settings.paths)
        self._adopt(manifests)
        ports = Ports(settings.bind_address, settings.grpc_port, settings.health_port, settings.metrics_port)
        async with contextlib.AsyncExitStack() as stack:
            limits = Limits(settings.max_body_bytes, settings.drain_seconds)
            handlers = (self._router.handler(),)
            metrics, _ = await show(stack, ports, self._registry, {})
            own, health = await listen(stack, ports, handlers, says, limits, settings.tls)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            self._router.follow(await stack.enter_async_context(Catalogue(session, time.monotonic)))
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                if settings.paths:
                    group.create_task(
                        files.watch(settings.paths, self._adopt, _refused, stop, known=manifests)
                    )
                says.serving()
                try:
                    yield Addresses(own, health, metrics)
                finally:
                    await says.leaving(min(settings.shutdown_delay_seconds, settings.drain_seconds))
                    stop.set()

    def _adopt(self, manifests: Manifests) -> None:
        known = base_models(manifests.adapter_maps)
        self._router.adopt(known, snapshot.pools(manifests))
        log.info("models", base_models=len(set(known.values())), adapters=len(known))


def _refused(error: ConfigError) -> None:
    log.error("edit_refused", where=error.where, problem=error.problem, hint=error.hint)


def _check_ports(settings: ProcessSettings) -> None:
    taken: dict[int, str] = {}
    ports = {
        "--grpc-port": settings.grpc_port,
        "--grpc-health-port": settings.health_port,
        "--metrics-port": settings.metrics_port,
    }
    for flag, port in ports.items():
        if port and port in taken:
            raise ConfigError(flag, f"port {port} is taken by {taken[port]}", "give them different ones")
        taken[port] = flag
