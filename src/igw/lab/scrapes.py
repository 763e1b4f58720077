"""Scraping in virtual time: when `scraping.scraper` would ask, and what it would be told. What follows is the product's own."""

from __future__ import annotations

from igw.lab.clock import VirtualClock
from igw.lab.picker import Picker
from igw.lab.servers import Server
from igw.scraping.following import Following
from igw.scraping.report import Report

TRANSFER_SECONDS = 0.001
"""From the instant a server writes its page to the instant the picker has read it."""


class Scrapes:
    """The scrapes of one picker at one server, at the product's pace, until the run ends."""

    def __init__(self, picker: Picker, server: Server, interval_seconds: float, clock: VirtualClock) -> None:
        self._picker = picker
        self._server = server
        self._interval_seconds = interval_seconds
        self._clock = clock
        hostport = server.endpoint.hostport
        self._following = Following(hostport, picker.columns, picker.prefix, picker.promises, clock.now)
        clock.at(clock.now, self._ask)

    def _ask(self) -> None:
        page = self._page() if self._server.up else None
        self._clock.after(TRANSFER_SECONDS, self._take, page)

    def _page(self) -> Report:
        """Return what the server's metrics page would say."""
        now = self._server.statistics()
        return Report(
            waiting=now.waiting,
            running=now.running,
            kv_usage=now.kv_usage,
            kv_capacity_tokens=self._server.kv_capacity_tokens,
            lifetime=now.prefix_queries_tokens,
        )

    def _take(self, page: Report | None) -> None:
        now = self._clock.now
        if page is None:
            self._following.missed()
        else:
            self._following.answered(page, now)
        self._picker.scraped()
        endpoints = len(self._picker.columns.pool)
        self._clock.after(self._following.pause_seconds(endpoints, self._interval_seconds, now), self._ask)
