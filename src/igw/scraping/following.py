"""What one endpoint has said so far, and what follows for the pool's columns, the prefix index and the promises.

Who asks it, and how, is `scraper`, in the lab `igw.lab.scrapes`. No I/O and no clock.
"""

from __future__ import annotations

from igw.columns import Columns
from igw.prefix.index import PrefixIndex
from igw.scraping.pace import pause_seconds
from igw.scraping.vllm import Report
from igw.work.promises import Promises

_MISSES = 3
"""Scrapes in a row that must fail before an endpoint is no candidate any more."""


class Following:
    """The scrapes of one endpoint (`host:port`), one after another."""

    def __init__(
        self, hostport: str, columns: Columns, prefix: PrefixIndex, promises: Promises | None, now: float
    ) -> None:
        self._hostport = hostport
        self._columns = columns
        self._prefix = prefix
        self._promises = promises
        self._misses = 0
        self._queries = 0.0
        self._picks, self._asked_at = columns.picks, now

    def missed(self) -> bool:
        """Note a scrape that failed; True for the one with which the endpoint counts as lost."""
        self._misses += 1
        if self._misses != _MISSES:
            return False
        self._columns.fail(self._hostport)
        return True

    def answered(self, report: Report, now: float) -> bool:
        """Take in what the endpoint says; True if it was lost and is back."""
        back, queries = self._misses >= _MISSES, report.prefix_queries or 0.0
        self._columns.report(self._hostport, report.waiting, report.running, report.kv_usage)
        self._columns.report_adapters(self._hostport, report.adapters)
        slot = self._prefix.slot_of(self._hostport)
        if slot is not None:
            capacity = report.kv_capacity_tokens or 0
            if self._promises is not None:
                self._promises.scraped(slot, report.waiting, report.kv_usage, capacity, now)
            if capacity:
                self._prefix.resize(slot, capacity)
            if back or queries < self._queries:  # it was restarted, with an empty cache
                self._prefix.forget(slot)
        self._misses, self._queries = 0, queries
        return back

    def pause_seconds(self, endpoints: int, interval_seconds: float, now: float) -> float:
        """Return how long to wait before the next scrape, *endpoints* being scraped in all."""
        columns = self._columns
        rate = (columns.picks - self._picks) / max(now - self._asked_at, 1e-3)
        self._picks, self._asked_at = columns.picks, now
        return pause_seconds(endpoints, rate, interval_seconds, doubtful=0 < self._misses < _MISSES)
