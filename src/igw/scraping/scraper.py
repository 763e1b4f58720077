"""Asking endpoints for their metrics, each at its own pace, and writing the answers into the pool's columns.

The pace follows need: fast while many requests are being picked, slow when few are, and never more scrapes per second in all than a
fixed budget, because in-flight counts are exact without them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import msgspec
import structlog

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.prefix.index import PrefixIndex
from igw.scraping.pace import pause_seconds
from igw.scraping.vllm import Report, read
from igw.work.promises import Promises

log = structlog.get_logger("scraping")

_OVERDUE_SECONDS = 0.5
"""So long an endpoint may take for its page before nothing that it said is believed any more."""
_MISSES = 3
"""Scrapes in a row that must fail before an endpoint is no candidate any more."""


class ScrapeStatistics(msgspec.Struct, frozen=True):
    """Scrapes since the start."""

    done: int
    failed: int


class Scraper:
    """Scrapes the endpoints of one pool. Writer of its scraped columns; one task per endpoint."""

    def __init__(
        self,
        columns: Columns,
        prefix: PrefixIndex,
        interval_seconds: float,
        clock: Callable[[], float],
        promises: Promises | None = None,
    ) -> None:
        self._promises = promises
        self._columns = columns
        self._prefix = prefix
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._done = self._failed = 0

    def follow(self, pool: Pool, group: asyncio.TaskGroup, session: aiohttp.ClientSession) -> None:
        """Scrape exactly the endpoints of *pool* from now on."""
        wanted = {endpoint.hostport: endpoint for endpoint in pool.endpoints}
        for hostport in [known for known in self._tasks if known not in wanted]:
            self._tasks.pop(hostport).cancel()
        for hostport, endpoint in wanted.items():
            if hostport not in self._tasks:
                self._tasks[hostport] = group.create_task(self._run(endpoint, session))

    async def stop(self) -> None:
        """End every scrape."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def statistics(self) -> ScrapeStatistics:
        """Return how many scrapes there were."""
        return ScrapeStatistics(done=self._done, failed=self._failed)

    async def _run(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        url = f"http://{endpoint.hostport}/metrics"
        misses, queries = 0, 0.0
        picks, asked_at = self._columns.picks, self._clock()
        loop = asyncio.get_running_loop()
        while True:
            # A server that hangs must not look as it did before, for as long as it may take to give it up.
            overdue = loop.call_later(_OVERDUE_SECONDS, self._columns.expire, endpoint.hostport)
            try:
                async with session.get(url) as response:
                    response.raise_for_status()
                    report = read(await response.read())
            # An endpoint's page, however broken, must not end the scraping of others.
            except Exception as error:
                misses += 1
                self._failed += 1
                if misses == _MISSES:
                    self._columns.fail(endpoint.hostport)
                    log.warning("endpoint_lost", endpoint=endpoint.hostport, error=str(error) or repr(error))
            else:
                self._done += 1
                restarted = misses >= _MISSES or (report.prefix_queries or 0.0) < queries
                self._take(endpoint, report, restarted=restarted)
                if misses >= _MISSES:
                    log.info("endpoint_back", endpoint=endpoint.hostport)
                misses, queries = 0, report.prefix_queries or 0.0
            finally:
                overdue.cancel()
            now = self._clock()
            rate = (self._columns.picks - picks) / max(now - asked_at, 1e-3)
            picks, asked_at = self._columns.picks, now
            doubtful = 0 < misses < _MISSES
            await asyncio.sleep(
                pause_seconds(len(self._tasks), rate, self._interval_seconds, doubtful=doubtful)
            )

    def _take(self, endpoint: Endpoint, report: Report, *, restarted: bool) -> None:
        self._columns.report(endpoint.hostport, report.waiting, report.running, report.kv_usage)
        self._columns.report_adapters(endpoint.hostport, report.adapters)
        slot = self._prefix.slot_of(endpoint.hostport)
        if slot is None:
            return
        capacity = report.kv_capacity_tokens or 0
        if self._promises is not None:
            self._promises.scraped(slot, report.waiting, report.kv_usage, capacity, self._clock())
        if report.kv_capacity_tokens:
            self._prefix.resize(slot, report.kv_capacity_tokens)
        if restarted:
            self._prefix.forget(slot)
