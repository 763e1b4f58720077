"""The metrics pages of one endpoint, one per data source: asking for those that are due, and what they say together.

When there is anything to ask is `scraper`; what a page says is `reader`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import aiohttp
import structlog

from igw.bounded import whole
from igw.config.decode import nearest
from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.scraping.access import MOST_BYTES, Credentials
from igw.scraping.reader import Reader
from igw.scraping.report import Report, together
from igw.scraping.settings import Scraping

log = structlog.get_logger("scraping")

Source: TypeAlias = tuple[Scraping, Credentials]
"""Where a pool's pages of one kind are, and what is shown there."""


class Pages:
    """What one endpoint is asked for. The first source says which engine it is; where several tell the same, the last one counts."""

    def __init__(self, endpoint: Endpoint, sources: Sequence[Source], clock: Callable[[], float]) -> None:
        # The one that is asked for most often is asked for every time: whoever asks keeps its pace.
        shortest = min([settings.interval_seconds for settings, _ in sources])
        self._pages = [_Page(endpoint, *source, shortest, clock) for source in sources]
        self.reader = self._pages[0].reader
        self.failed = 0
        """Pages that could not be had or read so far."""
        self._clock = clock

    async def ask(self, session: aiohttp.ClientSession) -> Report:
        """Ask for the pages that are due; a page that cannot be had is as if it said nothing.

        Raises:
            Exception: all that can be had have no word of load: the first error there was.
        """
        now = self._clock()
        due = [page for page in self._pages if page.due(now)]
        errors = await asyncio.gather(*[page.ask(session) for page in due], return_exceptions=True)
        found = [each for each in errors if each is not None]
        self.failed += len(found)
        report = together([page.report for page in self._pages if page.report is not None])
        if report.says_nothing:
            self.failed += not found
            raise found[0] if found else ValueError("no metrics page has a word of load")
        return report


class _Page:
    """One of them, and what it said last."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Scraping,
        credentials: Credentials,
        shortest_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._url = settings.access.url(endpoint)
        interval_seconds = settings.interval_seconds
        self._interval_seconds = interval_seconds if interval_seconds > shortest_seconds else 0.0
        self._credentials = credentials
        self._clock = clock
        self._asked_at = -math.inf
        self.reader = Reader(settings.engines, endpoint.labels)
        self.report: Report | None = None
        if self.reader.unknown:
            hint = nearest(self.reader.unknown, settings.engines.by_name)
            log.warning("engine_unknown", endpoint=endpoint.hostport, engine=self.reader.unknown, hint=hint)

    def due(self, now: float) -> bool:
        """Return whether it may be asked for again; at once if it could not be had."""
        return self.report is None or now - self._asked_at >= self._interval_seconds

    async def ask(self, session: aiohttp.ClientSession) -> None:
        self._asked_at, self.report = self._clock(), None
        page = await self._fetched(session)
        self.report = self.reader.read(page, self._clock())

    async def _fetched(self, session: aiohttp.ClientSession) -> bytes:
        credentials = self._credentials
        try:
            credentials.refresh(self._clock())
        except ConfigError as error:  # while a file is being replaced, what it said before will do
            log.warning("credentials_unreadable", where=error.where, problem=error.problem)
        async with session.get(self._url, headers=credentials.headers, ssl=credentials.ssl) as response:
            response.raise_for_status()
            return await whole(response.content.iter_any(), MOST_BYTES, "the metrics page")
