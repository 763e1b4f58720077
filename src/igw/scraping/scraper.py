"""Asking endpoints for their metrics, each at its own pace, and writing the answers into the pool's columns.

The pace follows need: fast while many requests are being picked, slow when few are, and never more scrapes per second in all than a
fixed budget, because in-flight counts are exact without them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

import aiohttp
import msgspec
import structlog

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.prefix.index import PrefixIndex
from igw.scraping.access import Credentials
from igw.scraping.following import Following
from igw.scraping.pages import Pages, Source
from igw.scraping.reader import Reader
from igw.scraping.report import Report
from igw.scraping.settings import Scraping
from igw.work.promises import Promises

log = structlog.get_logger("scraping")

_OVERDUE_SECONDS = 0.5
"""So long an endpoint may take for its page before nothing that it said is believed any more."""
_AT_ONCE, _APART_SECONDS = 16, 0.001
"""So many endpoints of those that are new are asked at once, the others one after another at this distance."""
_JITTER = 0.1
"""Pauses are longer or shorter by up to this share, so that pickers and pools do not fall into step; not where there is doubt."""


class ScrapeStatistics(msgspec.Struct, frozen=True):
    """Scrapes since the start."""

    done: int
    failed: int


class Status(msgspec.Struct, frozen=True):
    """What is known of one endpoint from its pages."""

    endpoint: str
    """Its `host:port`."""
    engine: str = ""
    """Empty until a page was read."""
    chosen_by: str = ""
    """What said that it is this engine: `label`, `configuration`, `page`, or `default`."""
    accelerator: str = ""
    """By a label of the endpoint; engines do not say."""
    age_seconds: float | None = None
    """How long ago it last answered; None: never."""
    report: Report | None = None
    """What it said then; it is not believed any more when the endpoint is lost."""


class Scraper:
    """Scrapes the endpoints of one pool. Writer of its scraped columns; one task per endpoint."""

    def __init__(
        self,
        columns: Columns,
        prefix: PrefixIndex,
        settings: Scraping,
        clock: Callable[[], float],
        promises: Promises | None = None,
    ) -> None:
        self._columns = columns
        self._prefix = prefix
        self._settings = settings
        self._clock = clock
        self._promises = promises
        self._sources = self._opened(settings)
        self._tasks: dict[str, tuple[Endpoint, asyncio.Task[None]]] = {}
        self._known: dict[str, tuple[Following, Pages, Report | None]] = {}
        self._done = self._failed = 0
        self.answered: Callable[[], None] = lambda: None
        """Told of every page that was read."""

    def use(self, settings: Scraping) -> None:
        """Go by *settings* from the next `follow` on; who is scraped already starts anew if they are others.

        Raises:
            ConfigError: a file that they refer to cannot be used; then nothing has changed.
        """
        if settings == self._settings:
            return
        self._sources = self._opened(settings)
        self._settings = settings
        for _, task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def follow(self, pool: Pool, group: asyncio.TaskGroup, session: aiohttp.ClientSession) -> None:
        """Scrape exactly the endpoints of *pool* from now on."""
        wanted = {endpoint.hostport: endpoint for endpoint in pool.endpoints}
        for hostport, (endpoint, task) in list(self._tasks.items()):
            if wanted.get(hostport) != endpoint:
                task.cancel()
                del self._tasks[hostport]
        for hostport in [known for known in self._known if known not in wanted]:
            del self._known[hostport]
        new = [endpoint for hostport, endpoint in wanted.items() if hostport not in self._tasks]
        for index, endpoint in enumerate(new):
            task = group.create_task(self._run(endpoint, session, max(0, index - _AT_ONCE) * _APART_SECONDS))
            self._tasks[endpoint.hostport] = endpoint, task

    async def stop(self) -> None:
        """End every scrape."""
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def statistics(self) -> ScrapeStatistics:
        """Return how many scrapes there were."""
        return ScrapeStatistics(done=self._done, failed=self._failed)

    def statuses(self) -> Iterator[Status]:
        """Yield what is known of every endpoint, in pool order."""
        now = self._clock()
        for endpoint in self._columns.pool.endpoints:
            known = self._known.get(endpoint.hostport)
            if known is None:
                yield Status(endpoint.hostport, accelerator=endpoint.accelerator)
                continue
            following, pages, report = known
            reader = pages.reader
            yield Status(
                endpoint.hostport,
                reader.engine.name if reader.engine is not None and report is not None else "",
                reader.chosen_by,
                endpoint.accelerator,
                following.age_seconds(now),
                report,
            )

    def _opened(self, settings: Scraping) -> tuple[Source, ...]:
        now = self._clock()
        return tuple([(page, Credentials(page.access, now)) for page in settings.pages])

    async def _run(self, endpoint: Endpoint, session: aiohttp.ClientSession, delay_seconds: float) -> None:
        hostport = endpoint.hostport
        interval_seconds = min([page.interval_seconds for page, _ in self._sources])
        if (known := self._known.get(hostport)) is not None:  # it was followed with other settings or labels
            following = known[0]
        else:
            following = Following(hostport, self._columns, self._prefix, self._promises, self._clock())
        pages = Pages(endpoint, self._sources, self._clock)
        self._known[hostport] = following, pages, None
        loop = asyncio.get_running_loop()
        await asyncio.sleep(delay_seconds)
        while True:
            # A server that hangs must not look as it did before, for as long as it may take to give it up.
            overdue = loop.call_later(_OVERDUE_SECONDS, self._columns.expire, hostport)
            asked_at, failed = self._clock(), pages.failed
            try:
                report = await pages.ask(session)
            # An endpoint's page, however broken, must not end the scraping of others.
            except Exception as error:
                if following.missed():
                    log.warning("endpoint_lost", endpoint=hostport, error=str(error) or repr(error))
            else:
                self._done += 1
                self._tell(hostport, pages.reader, report)
                self._known[hostport] = following, pages, report
                if following.answered(report, self._clock()):
                    log.info("endpoint_back", endpoint=hostport)
                self.answered()
            finally:
                overdue.cancel()
                self._failed += pages.failed - failed
            now = self._clock()
            pause = following.pause_seconds(len(self._tasks), interval_seconds, now, now - asked_at)
            jitter = 0.0 if following.doubtful else _JITTER
            await asyncio.sleep(pause * random.uniform(1 - jitter, 1 + jitter))

    def _tell(self, hostport: str, reader: Reader, report: Report) -> None:
        """Log what an endpoint's page lacks: once, and again when that changes."""
        before = self._known[hostport][2]
        engine = reader.engine.name if reader.engine is not None else ""
        if report.missing and (before is None or before.missing != report.missing):
            log.info("metrics_missing", endpoint=hostport, engine=engine, missing=list(report.missing))
