"""Scraping in virtual time: when `scraping.scraper` would ask, what it would be told, and into the same columns."""

from __future__ import annotations

from igw.lab.clock import VirtualClock
from igw.lab.picker import Picker
from igw.lab.servers import Server
from igw.scraping.pace import pause_seconds
from igw.simulator.engine.engine import Statistics

TRANSFER_SECONDS = 0.001
"""From the instant a server writes its page to the instant the picker has read it."""

_MISSES = 3
"""As `scraping.scraper`."""


class Scrapes:
    """The scrapes of one picker at one server, at the product's pace, until the run ends."""

    def __init__(self, picker: Picker, server: Server, interval_seconds: float, clock: VirtualClock) -> None:
        self._picker = picker
        self._server = server
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._misses = 0
        self._queries = 0
        self._picks, self._asked_at = picker.columns.picks, clock.now
        clock.at(clock.now, self._ask)

    def _ask(self) -> None:
        page = self._server.statistics() if self._server.up else None
        self._clock.after(TRANSFER_SECONDS, self._take, page)

    def _take(self, page: Statistics | None) -> None:
        if page is None:
            self._miss()
        else:
            self._report(page)
        self._clock.after(self._pause_seconds(), self._ask)

    def _miss(self) -> None:
        self._misses += 1
        if self._misses == _MISSES:
            self._picker.columns.fail(self._server.endpoint.hostport)

    def _report(self, page: Statistics) -> None:
        hostport, prefix = self._server.endpoint.hostport, self._picker.prefix
        self._picker.columns.report(hostport, page.waiting, page.running, page.kv_usage)
        if (slot := prefix.slot_of(hostport)) is not None:
            capacity = self._server.kv_capacity_tokens
            self._picker.promises.scraped(slot, page.waiting, page.kv_usage, capacity, self._clock.now)
            prefix.resize(slot, capacity)
            if self._misses >= _MISSES or page.prefix_queries_tokens < self._queries:
                prefix.forget(slot)
        self._misses, self._queries = 0, page.prefix_queries_tokens

    def _pause_seconds(self) -> float:
        columns, now = self._picker.columns, self._clock.now
        rate = (columns.picks - self._picks) / max(now - self._asked_at, 1e-3)
        self._picks, self._asked_at = columns.picks, now
        doubtful = 0 < self._misses < _MISSES
        return pause_seconds(len(columns.pool), rate, self._interval_seconds, doubtful=doubtful)
