"""The endpoint picker as a whole: builds every object once, wires them, owns the task group. The command line is elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
import structlog

from igw.columns import Columns
from igw.config.manifests import Manifests, load, with_picker_config
from igw.decision import Decision
from igw.discovery import files, snapshot
from igw.errors import ConfigError
from igw.extproc.listening import Addresses, HealthSays, Limits, Ports, listen, show
from igw.extproc.server import ExtProc, ServerSettings
from igw.flow.settings import Settings, wanted
from igw.kvevents.following import Following
from igw.outcomes.access_log import AccessLog
from igw.outcomes.correction import Correction
from igw.outcomes.health import Health
from igw.outcomes.learning import Learning
from igw.outcomes.ledger import Ledger
from igw.outcomes.observed import Ejections, RequestMetrics
from igw.parsing.limits import Limits as BodyLimits
from igw.parsing.registry import PARSERS, Apis
from igw.payload.catalogue import Catalogue
from igw.payload.chain import base_models
from igw.payload.server import ROLE, BodyRouter
from igw.prefix.index import PrefixIndex
from igw.routing import observed as routing_observed
from igw.routing import queue_gauges
from igw.routing.holding import Holding
from igw.routing.objectives import Terms
from igw.routing.pools import Pools
from igw.routing.rewrite_concerns import rewrite_concerns
from igw.routing.rewriting import Rewrites
from igw.routing.router import Router
from igw.scheduling import builtin, configured
from igw.scheduling.concerns import Concern, concerns
from igw.scheduling.observed import observed as observed_scheduler
from igw.scheduling.resolved import resolve
from igw.scraping.access import Access, Credentials
from igw.scraping.access import session as metrics_session
from igw.scraping.observed import collect as collect_scraping
from igw.scraping.scraper import Scraper
from igw.scraping.settings import Scraping
from igw.scraping.settings import configured as configured_scraping
from igw.telemetry.families import Families
from igw.tokenizing.rendering import Renderers
from igw.work.promises import Promises

log = structlog.get_logger("picker")

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
    metrics_access: Access = Access()
    """How model servers are asked for their metrics, where the `EndpointPickerConfig` does not say."""
    max_body_bytes: int = 64 << 20
    body_limits: BodyLimits = BodyLimits()
    emit_endpoint_scores: bool = False
    """Whether picks come with the scores of all candidates, in metadata."""
    plain_text_errors: bool = False
    """Whether errors are written as upstream's picker does."""
    fail_open_on_faults: bool = False
    """Whether a request that a fault hits goes by its pool's failure mode; else it is answered 500."""
    reservation_deadline_seconds: float = 1800.0
    drain_seconds: float = 30.0


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
        self._learning = learning = Learning(self._promises, self._clock)
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
        self._holding = Holding(
            self._router,
            self._pools,
            self._ledger,
            self._clock,
            self._evict,
            lambda pool, queue: routing_observed.ObservedQueue(queue, pool, self._families, self._clock),
        )
        self._families.collect_with(lambda: queue_gauges.collect(self._holding))
        self._in_force = InForce()
        self._scrapers: dict[str, Scraper] = {}
        self._kv_events = Following()
        self._renderers = Renderers(self._clock)
        self._families.collect_with(self._kv_events.collect)
        state = routing_observed.State(self._pools, self._prefix, self._ledger)
        self._families.collect_with(state.collect)
        self._families.collect_with(ejections.collect)
        self._scraping = Scraping(settings.scrape_interval_seconds, settings.metrics_access)
        self._families.collect_with(collect_scraping(lambda: self._scrapers))
        route = routing_observed.observed(self._router.route, self._families, self._requests, self._clock)
        self.extproc = ExtProc(
            route=route,
            ledger=self._ledger,
            settings=ServerSettings(
                default_pool=settings.pool,
                max_body_bytes=settings.max_body_bytes,
                fail_open_on_faults=settings.fail_open_on_faults,
                plain_text_errors=settings.plain_text_errors,
                emit_endpoint_scores=settings.emit_endpoint_scores,
            ),
            clock=self._clock,
            refused=self._requests.refused,
            decided_after=self._families.request_processing_duration_seconds.observe,
            started=self._started,
        )

        self._body_router = BodyRouter(
            self._families.registry, time.perf_counter, max_body_bytes=settings.max_body_bytes
        )
        self.extproc.roles = {ROLE: self._body_router.process}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Addresses]:
        """Serve until the block is left; then refuse new exchanges and let the open ones end for `drain_seconds`.

        Raises:
            ConfigError: files that cannot be used, or a port that is taken.
        """
        manifests = self._read()
        self.use(manifests)
        says = HealthSays()
        # Everything that a wrong file or a taken port can stop comes before the task group, which would wrap the error.
        async with contextlib.AsyncExitStack() as stack:
            served = await stack.enter_async_context(contextlib.AsyncExitStack())
            addresses = await self._serve(served, says)
            timeout = aiohttp.ClientTimeout(total=2.0, connect=1.0)
            connector = aiohttp.TCPConnector(limit=0)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=timeout, connector=connector)
            )
            self._body_router.follow(await stack.enter_async_context(Catalogue(session, self._clock)))
            pages = await stack.enter_async_context(metrics_session())
            async with asyncio.TaskGroup() as group:
                scraping = _Scraping(group, pages)
                await self._scrape(scraping)
                stop = asyncio.Event()
                group.create_task(self._watch(manifests, scraping, stop))
                expiring = group.create_task(self._expire())
                await says.serving()
                # What is built now lives as long as the process, and requests leave few cycles: look less often, at less.
                gc.freeze()
                gc.set_threshold(20_000, 50, 100)
                try:
                    yield addresses
                finally:
                    await says.stopping()
                    stop.set()
                    # Who waits is served as long as there is time: by what endpoints and the proxy's log still say.
                    await self._holding.drained(self._may_wait_seconds)
                    await served.aclose()
                    expiring.cancel()
                    await self._kv_events.close()
                    await self._renderers.close()
                    for scraper in self._scrapers.values():
                        await scraper.stop()

    @property
    def _may_wait_seconds(self) -> float:
        """How long requests may wait once the process is to stop: a little less than exchanges may stay, so that they can be told."""
        drain = self._settings.drain_seconds
        return max(0.8 * drain, drain - 1.0)

    def _started(self, decision: Decision) -> None:
        self._learning.started(decision)
        self._holding.started(decision)

    def _evict(self, decision: int) -> None:
        self.extproc.evict(decision)

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
        scheduler, found = builtin.default(), rewrite_concerns(manifests)
        flow: Settings | None = Settings()
        when_empty, detector = False, None
        parsers = tuple(PARSERS.values())
        scraping = Scraping(self._settings.scrape_interval_seconds, self._settings.metrics_access)
        if document is not None:
            resolved = resolve(document, allow_experimental=self._settings.allow_experimental)
            scheduler = configured.built(resolved, self._router.plugins)
            parsers = tuple(PARSERS[resolved.specs[name].kind] for name in resolved.parsers)
            scraping = configured_scraping(resolved, scraping)
            plugins = scheduler.plugins.by_name
            flow, when_empty = wanted(
                resolved.config, plugins, document.source, prices_work=scheduler.needs_work
            )
            if not scheduler.needs_work or resolved.config.names_detector:
                detector = plugins[resolved.detector]
            found += concerns(resolved, scraping.interval_seconds, manifests.simulators)
        terms = {
            pool: {name: Terms(*each) for name, each in named.items()}
            for pool, named in snapshot.terms(manifests).items()
        }
        Credentials(scraping.access, self._clock())  # an error of its files is an error of the configuration
        self._scraping = scraping
        failed = self._router.plugin_failed
        self._router.scheduler = observed_scheduler(
            scheduler,
            lambda point, kind, name: families.plugin_duration_seconds.labels(point, kind, name).observe,
            time.perf_counter,
            failed,
        )
        # Who asks for several endpoints gets them named; our default's second one is for our own proxy's retries.
        self.extproc.name_retries = document is not None
        self.extproc.apis = Apis(parsers, self._settings.body_limits)
        pools = snapshot.pools(manifests)
        self._pools.adopt(pools)
        self._body_router.adopt(base_models(manifests.adapter_maps), pools)
        self._router.detector = detector
        self._holding.use(flow, when_empty=when_empty)
        self._router.terms = terms
        self._router.priorities = snapshot.priorities(manifests)
        self._router.rewrites = {key: Rewrites(each) for key, each in snapshot.rewrites(manifests).items()}
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
                promises = self._pools.promises_of(columns)
                self._scrapers[key] = scraper = Scraper(
                    columns, self._prefix, self._scraping, self._clock, promises
                )
                scraper.answered = partial(self._holding.scraped, key)
            self._scrapers[key].use(self._scraping)
            self._scrapers[key].follow(columns.pool, scraping.group, scraping.session)
        endpoints = [endpoint for columns in current.values() for endpoint in columns.pool.endpoints]
        self._renderers.follow(self._router.plugins.by_name)
        await self._kv_events.follow(self._router.plugins.by_name, endpoints, scraping.group)

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

    async def _serve(self, stack: contextlib.AsyncExitStack, says: HealthSays) -> Addresses:
        settings = self._settings
        ports = Ports(settings.bind_address, settings.grpc_port, settings.health_port, settings.metrics_port)
        limits = Limits(settings.max_body_bytes, settings.drain_seconds)
        handlers = (self.extproc.handler(), AccessLog(self._ledger).handler())
        grpc, health = await listen(stack, ports, handlers, says, limits)
        pages = {"/config": lambda: msgspec.json.encode(self._in_force)}
        return Addresses(grpc, health, await show(stack, ports, self._families.registry, pages))
