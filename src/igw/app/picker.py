"""The picker: builds every object once, wires them, owns the task group. What files ask for is worked out in `configuration`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial
from typing import Any

import aiohttp
import msgspec
import structlog

from igw.app.configuration import asked
from igw.app.metering import Metering
from igw.app.settings import InForce, PickerSettings, Refused
from igw.columns import Columns
from igw.config.manifests import Manifests
from igw.dashboard.dashboard import Dashboard
from igw.debugging.access import guard
from igw.debugging.pages import Pages as DebugPages
from igw.decision import Decision
from igw.discovery import snapshot
from igw.discovery.source import Found
from igw.discovery.watching import source
from igw.endpoint import Pool
from igw.errors import ConfigError
from igw.explaining.explaining import Explaining
from igw.extproc.health import HealthSays
from igw.extproc.listening import Addresses, Limits, Ports, listen, show
from igw.extproc.server import ExtProc
from igw.kvevents.following import Following
from igw.outcomes.access_log import AccessLog
from igw.outcomes.correction import Correction
from igw.outcomes.health import Health
from igw.outcomes.learning import Learning
from igw.outcomes.ledger import Ledger
from igw.outcomes.logged import logged
from igw.outcomes.observed import Ejections
from igw.parsing.registry import Apis
from igw.payload.catalogue import Catalogue
from igw.payload.chain import base_models
from igw.payload.server import ROLE, BodyRouter
from igw.prefix.index import PrefixIndex
from igw.remotecaches.asking import RemoteCaches
from igw.routing import observed as routing_observed
from igw.routing import queue_gauges
from igw.routing.holding import Holding
from igw.routing.objectives import Terms
from igw.routing.observed_queues import ObservedQueues
from igw.routing.pools import Pools
from igw.routing.rewriting import Rewrites
from igw.scheduling import builtin
from igw.scheduling.observed import observed as observed_scheduler
from igw.scraping.access import Credentials
from igw.scraping.access import session as metrics_session
from igw.scraping.observed import collect as collect_scraping
from igw.scraping.scraper import Scraper
from igw.scraping.settings import Scraping
from igw.shadowing.shadowing import PATH as SHADOWS
from igw.shadowing.shadowing import Shadowing
from igw.tokenizing.following import Following as Tokenizing
from igw.tracing.untraced import tracing
from igw.waitingroom.server import WaitingRoom
from igw.work.promises import Promises

log = structlog.get_logger("picker")

_EXPIRY_EVERY_SECONDS = 5.0


class _Scraping(msgspec.Struct, frozen=True):
    """What scrapers are started with."""

    group: asyncio.TaskGroup
    session: aiohttp.ClientSession


class Picker:
    """One endpoint picker. Build it, then `async with picker.running() as addresses`."""

    def __init__(self, settings: PickerSettings) -> None:
        self._settings = settings
        self._source = source(settings.paths, settings.cluster, settings.config_file, settings.config_text)
        self._clock = time.monotonic
        self._tracing = tracing(settings.traces, self._clock)
        self._metering = metering = Metering(settings, self._clock)
        self._families = metering.families
        self._prefix = PrefixIndex()
        ejections = Ejections(self._families, self._every_columns, self._clock)
        self._learning = learning = Learning(self._promises, self._clock)
        self._ledger = Ledger(
            settings.reservation_deadline_seconds,
            listeners=(
                self._tracing.ending(metering.requests),
                Correction(self._prefix, self._columns_of),
                Health(self._columns_of, self._clock, ejections),
                learning,
                logged,
                metering.attainment,
            ),
        )
        self._pools = Pools(self._prefix, self._ledger)
        self._router = self._tracing.router(
            self._pools, self._prefix, self._ledger, builtin.default(), self._clock
        )
        self._router.plugin_failed = metering.plugin_failed
        self._explaining = Explaining(
            settings.explain, self._router, self._ledger, self._prefix, self._families, self._clock
        )
        self._shadowing = Shadowing(
            settings.shadows, self._router, self._pools, self._ledger, self._families, self._clock
        )
        self._dashboard = Dashboard(
            self._pools, self._prefix, self._ledger, lambda: self._holding, self._clock
        )
        refused = self._dashboard.refusing(self._explaining.refusing(metering.refused))
        refused = self._tracing.refusing(refused)
        self._waiting_room = WaitingRoom(
            self._ledger, self._clock, metering.picks.made, refused, self._started
        )
        queues = self._explaining.around(ObservedQueues(self._families, self._clock))
        self._holding = Holding(
            self._router,
            self._pools,
            self._ledger,
            self._clock,
            self._evict,
            self._waiting_room.around(queues) if settings.waiting_room else queues,
        )
        self._in_force = InForce()
        self._resolved: Mapping[str, Any] = {}
        self._scrapers: dict[str, Scraper] = {}
        self._kv_events = Following()
        self._tokenizing = Tokenizing(self._clock)
        self._remote_caches = RemoteCaches(self._clock)
        labels = self._families.request_labels
        state = routing_observed.State(self._pools, self._prefix, self._ledger, labels)
        self._scraping = Scraping(settings.scrape_interval_seconds, settings.metrics_access)
        self._families.collect_with(
            state.collect,
            lambda: queue_gauges.collect(self._holding),
            collect_scraping(lambda: self._scrapers),
            *(part.collect for part in (self._source, ejections, self._kv_events, self._remote_caches)),
            self._tracing.collect,
        )
        route = routing_observed.observed(self._router.route, self._families, metering.picks, self._clock)
        self.extproc = ExtProc(
            route=self._explaining.route(route),
            ledger=self._ledger,
            settings=settings.exchanges,
            clock=self._clock,
            refused=refused,
            decided_after=self._families.request_processing_duration_seconds.observe,
            started=self._started,
        )
        self._body_router = BodyRouter(
            self._families.registry, time.perf_counter, max_body_bytes=settings.max_body_bytes
        )
        metering.follow(self.extproc)
        self._tracing.around(self.extproc)
        self.extproc.roles = {ROLE: self._body_router.process}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Addresses]:
        """Serve until the block is left; then refuse new exchanges and let the open ones end for `drain_seconds`.

        Raises:
            ConfigError: files that cannot be used, or a port that is taken.
        """
        known = self._source.read()
        self.use(known.manifests, known.pools)
        self._shadowing.read()
        says = HealthSays()
        # Everything that a wrong file or a taken port can stop comes before the task group, which would wrap the error.
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._tracing.close)
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
                group.create_task(self._watch(known, scraping, stop))
                group.create_task(self._shadowing.follow(stop))
                expiring = group.create_task(self._expire())
                opening = group.create_task(says.serving_after(self._source.complete))
                if self._source.complete.is_set():
                    await opening
                # What is built now lives as long as the process, and requests leave few cycles: look less often, at less.
                gc.freeze()
                gc.set_threshold(20_000, 50, 100)
                try:
                    yield addresses
                finally:
                    opening.cancel()
                    await self._drained(says, served)
                    stop.set()
                    expiring.cancel()
                    await self._kv_events.close()
                    await self._remote_caches.close()
                    await self._tokenizing.close()
                    for scraper in self._scrapers.values():
                        await scraper.stop()

    async def _drained(self, says: HealthSays, served: contextlib.AsyncExitStack) -> None:
        """Return once no exchange is open any more, or `drain_seconds` are over; *served* is what listens."""
        drain = self._settings.drain_seconds
        await says.leaving(min(self._settings.shutdown_delay_seconds, drain))
        # Who waits in a queue has a little less time than exchanges have, so that he can be told.
        may_wait = max(0.8 * drain, drain - 1.0) - says.stopping_seconds
        out_of_time = asyncio.get_running_loop().call_later(may_wait, self._holding.stop)
        # Those are served by what endpoints say, and the proxy's log, which would find a closed port later.
        await self._holding.emptied()
        await served.aclose()
        out_of_time.cancel()
        self._holding.stop()

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

    # What there is ----------------------------------------------------------------------------------------------

    def use(self, manifests: Manifests, pools: Mapping[str, Pool] | None = None) -> None:
        """Decide by *manifests* from now on, between two requests; what is known of endpoints and of plugins that stay is kept.

        *pools* are theirs unless given.

        Raises:
            ConfigError: the picker's configuration cannot be used; then nothing has changed.
        """
        pools = snapshot.pools(manifests) if pools is None else pools
        wanted = asked(manifests, pools.values(), self._settings, self._router.plugins)
        terms = {
            pool: {name: Terms(*each) for name, each in named.items()}
            for pool, named in snapshot.terms(manifests).items()
        }
        for page in wanted.scraping.pages:
            Credentials(page.access, self._clock())  # an error of its files is an error of the configuration
        self._tokenizing.follow(wanted.scheduler.plugins.by_name)  # likewise
        self._scraping = wanted.scraping
        families = self._families
        series = self._tracing.series(
            lambda point, kind, name: families.plugin_duration_seconds.labels(point, kind, name).observe
        )
        self._router.use(
            self._tracing.scheduler(
                observed_scheduler(wanted.scheduler, series, time.perf_counter, self._router.plugin_failed)
            )
        )
        # Who asks for several endpoints gets them named; our default's second one is for our own proxy's retries.
        self.extproc.name_retries = bool(wanted.source)
        self.extproc.apis = Apis(wanted.parsers, self._settings.body_limits)
        self._pools.adopt(pools)
        self._body_router.adopt(base_models(manifests.adapter_maps), pools)
        self._router.detector = wanted.detector
        self._shadowing.against(manifests.picker_config)
        self._holding.use(wanted.flow, when_empty=wanted.waits_when_empty)
        self._router.terms = terms
        self._router.priorities = snapshot.priorities(manifests)
        self._router.rewrites = {key: Rewrites(each) for key, each in snapshot.rewrites(manifests).items()}
        self._metering.use(manifests, pools)
        log.info("pools", **{key: len(pool) for key, pool in pools.items()})
        if wanted.concerns != self._in_force.concerns:
            for concern in wanted.concerns:
                log.warning("configuration", code=concern.code, where=concern.where, concern=concern.message)
        self._in_force, self._resolved = InForce(wanted.source, wanted.concerns), wanted.resolved

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
        await self._remote_caches.follow(self._router.plugins.by_name)
        await self._kv_events.follow(self._router.plugins.by_name, endpoints, scraping.group)

    async def _watch(self, known: Found, scraping: _Scraping, stop: asyncio.Event) -> None:
        reloads = self._families.config_reloads_total
        in_force = known.manifests

        async def change(found: Found) -> None:
            nonlocal in_force
            self.use(found.manifests, found.pools)
            await self._scrape(scraping)
            if found.manifests is not in_force:
                reloads.labels("applied").inc()
            in_force = found.manifests

        def refuse(error: ConfigError) -> None:
            reloads.labels("refused").inc()
            log.error("edit_refused", where=error.where, problem=error.problem, hint=error.hint)
            refused = Refused(error.where, error.problem, error.hint)
            self._in_force = msgspec.structs.replace(self._in_force, refused=refused)

        await self._source.watch(known, change, refuse, stop)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_EVERY_SECONDS)
            self._families.reservations_expired_total.inc(self._ledger.expire(self._clock()))

    # Servers ----------------------------------------------------------------------------------------------------

    async def _serve(self, stack: contextlib.AsyncExitStack, says: HealthSays) -> Addresses:
        settings = self._settings
        ports = Ports(
            settings.bind_address,
            settings.grpc_port,
            settings.health_port,
            settings.metrics_port,
            settings.dashboard_port,
        )
        limits = Limits(settings.max_body_bytes, settings.drain_seconds)
        # First to come, last to go: exchanges whose answers come from there end before it does.
        left, address = lambda: settings.drain_seconds - says.stopping_seconds, settings.waiting_room
        room = await self._waiting_room.open(stack, address, settings.max_body_bytes, left)
        handlers = (self.extproc.handler(), AccessLog(self._ledger).handler())
        pages = {
            "/config": lambda: msgspec.json.encode(self._in_force),
            "/debug/config": lambda: msgspec.json.encode(self._resolved),
            "/debug/slo": lambda: msgspec.json.encode(self._metering.attainment.page()),
            SHADOWS: self._shadowing.page,
        }
        routes = (*self._explaining.routes(), *DebugPages().routes(), *self._dashboard.routes())
        guarded = guard(await settings.authentication.authority(stack, self._clock))
        metrics, dashboard = await show(stack, ports, self._families.registry, pages, routes, guarded)
        stack.callback(self._dashboard.close)
        # Last to come, first to go: how its end goes can be asked of the others.
        grpc, health = await listen(stack, ports, handlers, says, limits, settings.tls)
        return Addresses(grpc, health, metrics, room, dashboard)
