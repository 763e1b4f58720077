"""Passive health: endpoints whose requests keep failing are ejected for a while and return gradually. Pure; probing is not done here.

Missed scrapes are another matter (`columns.fail`): an engine may answer on its metrics page and fail every request.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

import msgspec

from igw.columns import RETURN_SECONDS, Columns
from igw.decision import Decision
from igw.outcomes.outcome import End, Outcome


class Failure(StrEnum):
    """What a request failed by. Values of the label `reason` of `igw_endpoint_ejections_total`."""

    CONNECT = "connect-failure"
    RESET = "reset"
    """The endpoint did not answer, or stopped in the middle."""
    STATUS = "5xx"
    TIMEOUT = "timeout"


class HealthSettings(msgspec.Struct, frozen=True):
    """When an endpoint is ejected and for how long. Figures as Envoy's outlier detection has them, where it has such a figure."""

    in_a_row: int = 5
    """So many failures without a success in between eject an endpoint,"""
    in_a_row_returning: int = 2
    """and so few while it returns."""
    share_above_others: float = 0.3
    """So does a share of failed requests that is so much above that of the pool's other endpoints,"""
    fewest_requests: float = 20.0
    """if it has had so many requests lately."""
    window_seconds: float = 30.0
    """What is lately: requests count the less the longer ago they ended, by 1/e per window."""
    ejection_seconds: float = 30.0
    """The first time; then twice as long each time,"""
    longest_ejection_seconds: float = 300.0
    """but no longer. After as long a time without one, it counts from the first again."""
    largest_ejected_share: float = 0.5
    """Of a pool's endpoints, at most so many are ejected at a time: if all fail, it is not for the endpoint's sake."""


class Ejection(msgspec.Struct, frozen=True):
    """One endpoint was ejected."""

    pool: str
    """`namespace/name`."""
    hostport: str
    reason: Failure
    """Of the request that was one too many."""
    failures_in_a_row: int
    failed_share: float
    """Of its requests lately."""
    seconds: float


class _Lately(msgspec.Struct):
    """Requests and failures lately. Both fade."""

    requests: float = 0.0
    failed: float = 0.0
    at: float = -math.inf

    def note(self, now: float, window_seconds: float, *, failed: bool) -> None:
        """Count one more end; what was before counts the less, the longer ago it was."""
        factor = math.exp((self.at - now) / window_seconds) if self.at < now else 1.0
        self.requests = self.requests * factor + 1.0
        self.failed = self.failed * factor + failed
        self.at = now

    def take(self, other: _Lately) -> None:
        """Count no more what *other* has counted."""
        self.requests = max(0.0, self.requests - other.requests)
        self.failed = max(0.0, self.failed - other.failed)

    def share(self) -> float:
        """Return which share failed; 0 where hardly anything was asked."""
        return self.failed / self.requests if self.requests >= 1.0 else 0.0


class _Record(msgspec.Struct):
    """What is remembered of one endpoint."""

    in_a_row: int = 0
    ejections: int = 0
    back_at: float = -math.inf
    lately: _Lately = msgspec.field(default_factory=_Lately)


class _Pool(msgspec.Struct):
    """What is remembered of one pool: of each endpoint by `ip:port`, and of all together."""

    records: dict[str, _Record] = {}
    lately: _Lately = msgspec.field(default_factory=_Lately)


class Health:
    """A ledger listener. Writer of the ejections in a pool's columns; `columns_of` finds those of a request's pool."""

    def __init__(
        self,
        columns_of: Callable[[str], Columns | None],
        clock: Callable[[], float],
        ejected: Callable[[Ejection], None] = lambda _ejection: None,
        settings: HealthSettings | None = None,
    ) -> None:
        self._columns_of = columns_of
        self._clock = clock
        self._ejected = ejected
        self._settings = settings or HealthSettings()
        self._pools: dict[str, _Pool] = {}

    def __call__(self, decision: Decision, outcome: Outcome) -> None:
        """Take note of one end."""
        columns = self._columns_of(decision.request.head.pool)
        if columns is None:
            return
        now = self._clock()
        picked, served_by = decision.endpoint.hostport, decision.server(outcome.served_by)
        if outcome.unreachable or served_by != picked:
            self._note(columns, picked, decision, Failure.CONNECT, now)
        if outcome.end in (End.COMPLETE, End.FAILED) and not (outcome.unreachable and served_by == picked):
            self._note(columns, served_by, decision, failure(outcome), now)
        if columns.any_ejected and (columns.back_at + RETURN_SECONDS <= now).all():
            columns.any_ejected = False

    def _note(
        self, columns: Columns, hostport: str, decision: Decision, failed: Failure | None, now: float
    ) -> None:
        if hostport not in columns.row:
            return
        pool = self._pool_of(columns)
        record = pool.records.get(hostport)
        if record is None:
            record = pool.records[hostport] = _Record()
        if decision.decided_at < record.back_at:
            return  # sent before the ejection, or for want of anybody else: it says nothing of how the return goes
        for lately in (record.lately, pool.lately):
            lately.note(now, self._settings.window_seconds, failed=failed is not None)
        if failed is None:
            record.in_a_row = 0
            return
        record.in_a_row += 1
        if self._is_outlier(pool, record, now) and self._has_room(columns, now):
            self._eject(columns, hostport, pool, failed, now)

    def _is_outlier(self, pool: _Pool, record: _Record, now: float) -> bool:
        settings = self._settings
        others = _Lately(pool.lately.requests, pool.lately.failed)
        others.take(record.lately)
        ceiling = others.share() + settings.share_above_others
        returning = now < record.back_at + RETURN_SECONDS
        in_a_row = settings.in_a_row_returning if returning else settings.in_a_row
        if record.in_a_row >= in_a_row and ceiling <= 1.0:
            return True
        return record.lately.requests >= settings.fewest_requests and record.lately.share() >= ceiling

    def _has_room(self, columns: Columns, now: float) -> bool:
        ejected = int((columns.back_at > now).sum())
        return ejected + 1 <= len(columns.pool) * self._settings.largest_ejected_share

    def _eject(self, columns: Columns, hostport: str, pool: _Pool, reason: Failure, now: float) -> None:
        settings, record = self._settings, pool.records[hostport]
        if now - record.back_at > settings.longest_ejection_seconds:
            record.ejections = 0
        seconds = min(settings.ejection_seconds * 2.0**record.ejections, settings.longest_ejection_seconds)
        ejection = Ejection(
            columns.pool.key, hostport, reason, record.in_a_row, record.lately.share(), seconds
        )
        pool.lately.take(record.lately)
        pool.records[hostport] = _Record(ejections=record.ejections + 1, back_at=now + seconds)
        columns.eject(hostport, now + seconds)
        self._ejected(ejection)

    def _pool_of(self, columns: Columns) -> _Pool:
        """Return what is remembered of a pool, without the endpoints that left."""
        key = columns.pool.key
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool()
        if len(pool.records) > len(columns.row):
            for hostport in pool.records.keys() - columns.row.keys():
                del pool.records[hostport]
        return pool


def failure(outcome: Outcome) -> Failure | None:
    """Return what a request failed by at the endpoint that served it; None where it was served, be it with a refusal."""
    if outcome.status == 504:
        return Failure.TIMEOUT
    if outcome.end is End.FAILED:
        return Failure.RESET
    return Failure.STATUS if outcome.status >= 500 else None
