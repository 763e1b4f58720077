"""What one endpoint has said so far, and what follows for the pool's columns, the prefix index and the promises.

Who asks it, and how, is `scraper`, in the lab `igw.lab.scrapes`. No I/O and no clock.
"""

from __future__ import annotations

from igw.columns import Columns
from igw.prefix.index import PrefixIndex
from igw.scraping.pace import pause_seconds
from igw.scraping.report import Report
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
        self._lifetime = 0.0
        self._answered_at: float | None = None
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
        back, lifetime = self._misses >= _MISSES, report.lifetime or 0.0
        self._columns.report(self._hostport, report.waiting, report.running, report.kv_usage)
        self._columns.report_adapters(self._hostport, report.adapters)
        self._columns.report_scalars(self._hostport, report.scalars)
        slot = self._prefix.slot_of(self._hostport)
        if slot is not None:
            capacity = report.kv_capacity_tokens or 0
            if self._promises is not None and report.waiting is not None:
                known = capacity if report.kv_usage is not None else 0
                self._promises.scraped(slot, report.waiting, report.kv_usage or 0.0, known, now)
            if capacity:
                self._prefix.resize(slot, capacity)
            if back or lifetime < self._lifetime:  # it was restarted, with an empty cache
                self._prefix.forget(slot)
        self._misses, self._lifetime, self._answered_at = 0, lifetime, now
        return back

    @property
    def doubtful(self) -> bool:
        """Whether the last scrape failed, and the endpoint is not given up."""
        return 0 < self._misses < _MISSES

    def age_seconds(self, now: float) -> float | None:
        """Return how long ago the endpoint said something; None if it never did."""
        return None if self._answered_at is None else now - self._answered_at

    def pause_seconds(
        self, endpoints: int, interval_seconds: float, now: float, took_seconds: float = 0.0
    ) -> float:
        """Return how long to wait before the next scrape, *endpoints* being scraped in all; the last one took so long."""
        columns = self._columns
        rate = (columns.picks - self._picks) / max(now - self._asked_at, 1e-3)
        self._picks, self._asked_at = columns.picks, now
        return pause_seconds(
            endpoints, rate, interval_seconds, doubtful=self.doubtful, took_seconds=took_seconds
        )
