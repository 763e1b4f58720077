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
from igw.scraping.following import Following
from igw.scraping.vllm import read
from igw.work.promises import Promises

log = structlog.get_logger("scraping")

_OVERDUE_SECONDS = 0.5
"""So long an endpoint may take for its page before nothing that it said is believed any more."""


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
        url, hostport = f"http://{endpoint.hostport}/metrics", endpoint.hostport
        following = Following(hostport, self._columns, self._prefix, self._promises, self._clock())
        loop = asyncio.get_running_loop()
        while True:
            # A server that hangs must not look as it did before, for as long as it may take to give it up.
            overdue = loop.call_later(_OVERDUE_SECONDS, self._columns.expire, hostport)
            try:
                async with session.get(url) as response:
                    response.raise_for_status()
                    report = read(await response.read())
            # An endpoint's page, however broken, must not end the scraping of others.
            except Exception as error:
                self._failed += 1
                if following.missed():
                    log.warning("endpoint_lost", endpoint=hostport, error=str(error) or repr(error))
            else:
                self._done += 1
                if following.answered(report, self._clock()):
                    log.info("endpoint_back", endpoint=hostport)
            finally:
                overdue.cancel()
            pause = following.pause_seconds(len(self._tasks), self._interval_seconds, self._clock())
            await asyncio.sleep(pause)
