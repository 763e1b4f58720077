"""The endpoint picker as a whole: builds every object once, wires them, owns the task group. The command line is elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import aiohttp
import grpc
import msgspec
import structlog
from aiohttp import web
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import exposition

from igw.columns import Columns
from igw.config.manifests import Manifests, load, with_picker_config
from igw.discovery import files, snapshot
from igw.endpoint import hostport
from igw.errors import ConfigError
from igw.extproc.server import SERVICE, ExtProc, ServerSettings
from igw.outcomes.access_log import AccessLog
from igw.outcomes.correction import Correction
from igw.outcomes.health import Health
from igw.outcomes.learning import Learning
from igw.outcomes.ledger import Ledger
from igw.outcomes.observed import Ejections, RequestMetrics
from igw.prefix.index import PrefixIndex
from igw.routing import observed as routing_observed
from igw.routing.pools import Pools
from igw.routing.router import Router
from igw.scheduling import builtin, configured
from igw.scheduling.concerns import Concern, concerns
from igw.scheduling.observed import observed as observed_scheduler
from igw.scheduling.resolved import resolve
from igw.scraping.scraper import Scraper
from igw.telemetry.families import Families
from igw.work.promises import Promises

log = structlog.get_logger("picker")

HEALTH_SERVICES = ("liveness", "readiness", SERVICE, "")
"""Names that protocol 004 asks of the health service, and the empty one for any client. A stopping picker is still alive."""

_EXPIRY_EVERY_SECONDS = 5.0


class PickerSettings(msgspec.Struct, frozen=True):
    """What one picker process is started with. Ports: 0 takes a free one."""

    paths: tuple[Path, ...]
    """Manifests; watched."""
    config_file: Path | None = None
    """An `EndpointPickerConfig`; wins over one among the manifests. Watched."""
    config_text: str = ""
    """The same as text; wins over both."""
    allow_experimental: bool = False
    """Whether plugins may be used that upstream calls Alpha."""
    bind_address: str = "127.0.0.1"
    grpc_port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    pool: str = ""
    """`namespace/name` for gateways that name no pool."""
    scrape_interval_seconds: float = 0.05
    max_body_bytes: int = 64 << 20
    reservation_deadline_seconds: float = 1800.0
    drain_seconds: float = 30.0


class Addresses(msgspec.Struct, frozen=True):
    """Where a picker listens, as `ip:port`."""

    grpc: str
    health: str
    metrics: str


class Refused(msgspec.Struct, frozen=True):
    """The last edit, which could not be used: where, what is wrong, and what would be right."""

    where: str
    problem: str
    hint: str


class InForce(msgspec.Struct, frozen=True):
    """What `GET /config` on the metrics port says."""

    source: str = ""
    """Where the `EndpointPickerConfig` was written; empty for the built-in default."""
    concerns: list[Concern] = []
    """What `igw check` would warn of."""
    refused: Refused | None = None
    """Set while the files say something that cannot be used; what was in force before still is."""


class _Scraping(msgspec.Struct, frozen=True):
    """What scrapers are started with."""

    group: asyncio.TaskGroup
    session: aiohttp.ClientSession


class Picker:
    """One endpoint picker. Build it, then `async with picker.running() as addresses`."""

    def __init__(self, settings: PickerSettings) -> None:
        self._settings = settings
        self._clock = time.monotonic
        self._families = Families()
        self._requests = RequestMetrics(self._families)
        self._prefix = PrefixIndex()
        ejections = Ejections(self._families, self._every_columns, self._clock)
        learning = Learning(self._promises, self._clock)
        self._ledger = Ledger(
            settings.reservation_deadline_seconds,
            listeners=(
                self._requests,
                Correction(self._prefix, self._columns_of),
                Health(self._columns_of, self._clock, ejections),
                learning,
            ),
        )
        self._pools = Pools(self._prefix, self._ledger)
        self._router = Router(self._pools, self._prefix, self._ledger, builtin.default(), self._clock)
        self._router.plugin_failed = lambda kind, name, reason: self._families.plugin_failures_total.labels(
            kind, name, reason
        ).inc()
        self._in_force = InForce()
        self._scrapers: dict[str, Scraper] = {}
        state = routing_observed.State(self._pools, self._prefix, self._ledger)
        self._families.collect_with(state.collect)
        self._families.collect_with(ejections.collect)
        route = routing_observed.observed(self._router.route, self._families, self._requests, self._clock)
        self.extproc = ExtProc(
            route=route,
            ledger=self._ledger,
            settings=ServerSettings(
                default_pool=settings.pool,
                max_body_bytes=settings.max_body_bytes,
            ),
            clock=self._clock,
            refused=self._requests.refused,
            decided_after=self._families.request_processing_duration_seconds.observe,
            started=learning.started,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Addresses]:
        """Serve until the block is left; then refuse new exchanges and let the open ones end for `drain_seconds`.

        Raises:
            ConfigError: files that cannot be used, or a port that is taken.
        """
        manifests = self._read()
        self.use(manifests)
        servicer = health.aio.HealthServicer()
        # Everything that a wrong file or a taken port can stop comes before the task group, which would wrap the error.
        async with contextlib.AsyncExitStack() as stack:
            addresses = await self._serve(stack, servicer)
            timeout = aiohttp.ClientTimeout(total=2.0, connect=1.0)
            connector = aiohttp.TCPConnector(limit=0)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=timeout, connector=connector)
            )
            async with asyncio.TaskGroup() as group:
                scraping = _Scraping(group, session)
                await self._scrape(scraping)
                stop = asyncio.Event()
                group.create_task(self._watch(manifests, scraping, stop))
                expiring = group.create_task(self._expire())
                await _tell(servicer, HEALTH_SERVICES, health_pb2.HealthCheckResponse.SERVING)
                # What is built now lives as long as the process, and requests leave few cycles: look less often, at less.
                gc.freeze()
                gc.set_threshold(20_000, 50, 100)
                try:
                    yield addresses
                finally:
                    await _tell(servicer, HEALTH_SERVICES[1:], health_pb2.HealthCheckResponse.NOT_SERVING)
                    stop.set()
                    expiring.cancel()
                    for scraper in self._scrapers.values():
                        await scraper.stop()

    def _every_columns(self) -> Iterable[Columns]:
        return self._pools.all()

    def _promises(self) -> Iterable[Promises]:
        return self._pools.promises()

    def _columns_of(self, key: str) -> Columns | None:
        return self._pools.columns_of(key)

    # Files ------------------------------------------------------------------------------------------------------

    def _read(self) -> Manifests:
        settings = self._settings
        return with_picker_config(load(settings.paths), settings.config_file, settings.config_text)

    def use(self, manifests: Manifests) -> None:
        """Decide by *manifests* from now on, between two requests; what is known of endpoints and of plugins that stay is kept.

        Raises:
            ConfigError: the picker's configuration cannot be used; then nothing has changed.
        """
        document, families = manifests.picker_config, self._families
        scheduler, found = builtin.default(), []
        if document is not None:
            resolved = resolve(document, allow_experimental=self._settings.allow_experimental)
            scheduler = configured.built(resolved, self._router.plugins)
            found = concerns(resolved, self._settings.scrape_interval_seconds, manifests.simulators)
        failed = self._router.plugin_failed
        self._router.scheduler = observed_scheduler(
            scheduler,
            lambda point, kind, name: families.plugin_duration_seconds.labels(point, kind, name).observe,
            time.perf_counter,
            failed,
        )
        # Who asks for several endpoints gets them named; our default's second one is for our own proxy's retries.
        self.extproc.name_retries = document is not None
        pools = snapshot.pools(manifests)
        self._pools.adopt(pools)
        log.info("pools", **{key: len(pool) for key, pool in pools.items()})
        if found != self._in_force.concerns:
            for concern in found:
                log.warning("configuration", code=concern.code, where=concern.where, concern=concern.message)
        self._in_force = InForce(document.source if document is not None else "", found)

    async def _scrape(self, scraping: _Scraping) -> None:
        """Scrape the endpoints of the pools there are now, and no others."""
        current = {columns.pool.key: columns for columns in self._pools.all()}
        for key in [known for known in self._scrapers if known not in current]:
            await self._scrapers.pop(key).stop()
        for key, columns in current.items():
            if key not in self._scrapers:
                interval = self._settings.scrape_interval_seconds
                promises = self._pools.promises_of(columns)
                self._scrapers[key] = Scraper(columns, self._prefix, interval, self._clock, promises)
            self._scrapers[key].follow(columns.pool, scraping.group, scraping.session)

    async def _watch(self, known: Manifests, scraping: _Scraping, stop: asyncio.Event) -> None:
        reloads = self._families.config_reloads_total

        async def change(manifests: Manifests) -> None:
            self.use(manifests)
            await self._scrape(scraping)
            reloads.labels("applied").inc()

        def refuse(error: ConfigError) -> None:
            reloads.labels("refused").inc()
            log.error("edit_refused", where=error.where, problem=error.problem, hint=error.hint)
            refused = Refused(error.where, error.problem, error.hint)
            self._in_force = msgspec.structs.replace(self._in_force, refused=refused)

        file = self._settings.config_file
        paths = (*self._settings.paths, *([file] if file is not None else []))
        await files.watch(paths, change, refuse, stop, known, self._read)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_EVERY_SECONDS)
            self._families.reservations_expired_total.inc(self._ledger.expire(self._clock()))

    # Servers ----------------------------------------------------------------------------------------------------

    async def _serve(
        self, stack: contextlib.AsyncExitStack, servicer: health.aio.HealthServicer
    ) -> Addresses:
        settings = self._settings
        limit = settings.max_body_bytes + (1 << 20)
        server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", limit),
                     ("grpc.max_send_message_length", limit),
                # Envoy pings to find out whether a waiting picker still lives; by default that counts as abuse.
                ("grpc.http2.max_ping_strikes", 0)]
        )  # fmt: skip
        server.add_generic_rpc_handlers((self.extproc.handler(), AccessLog(self._ledger).handler()))
        health_server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        for each in (server, health_server):
            health_pb2_grpc.add_HealthServicer_to_server(servicer, each)
        bind = settings.bind_address
        grpc_port = await _started(
            stack, server, bind, settings.grpc_port, "--grpc-port", settings.drain_seconds
        )
        health_port = await _started(
            stack, health_server, bind, settings.health_port, "--grpc-health-port", 0
        )
        metrics_port = await self._serve_metrics(stack)
        return Addresses(hostport(bind, grpc_port), hostport(bind, health_port), hostport(bind, metrics_port))

    async def _serve_metrics(self, stack: contextlib.AsyncExitStack) -> int:
        async def page(_request: web.Request) -> web.Response:
            body = exposition.generate_latest(self._families.registry)
            return web.Response(body=body, headers={"content-type": exposition.CONTENT_TYPE_LATEST})

        app = web.Application()

        async def config(_request: web.Request) -> web.Response:
            return web.Response(body=msgspec.json.encode(self._in_force), content_type="application/json")

        app.router.add_get("/metrics", page)
        app.router.add_get("/config", config)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        settings = self._settings
        site = web.TCPSite(runner, settings.bind_address, settings.metrics_port, reuse_port=False)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                "--metrics-port", _busy(settings.bind_address, settings.metrics_port)
            ) from error
        return int(runner.addresses[0][1])


async def _tell(servicer: health.aio.HealthServicer, services: Sequence[str], status: int) -> None:
    for service in services:
        await servicer.set(service, status)


async def _started(
    stack: contextlib.AsyncExitStack, server: grpc.aio.Server, bind: str, port: int, flag: str, grace: float
) -> int:
    try:
        bound = server.add_insecure_port(hostport(bind, port))
    except RuntimeError as error:
        raise ConfigError(flag, _busy(bind, port)) from error
    await server.start()
    stack.push_async_callback(server.stop, grace)
    return int(bound)


def _busy(bind: str, port: int) -> str:
    return f"cannot listen on {hostport(bind, port)}; choose another port, or 0 for a free one"
