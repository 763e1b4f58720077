"""The live state of a picker -> an `Overview`. Nothing is worked out before somebody asks; when that is, is `feed`'s business."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import msgspec
import numpy as np

from igw.columns import RETURN_SECONDS, Columns
from igw.dashboard.overview import Band, Health, Overview, Pool, Queue, Tenant
from igw.dashboard.traffic import Recent
from igw.endpoint import Pool as Members
from igw.facts import Column
from igw.flow.statistics import Statistics
from igw.outcomes.ledger import Ledger
from igw.prefix.index import PrefixIndex
from igw.routing.holding import Holding
from igw.routing.pools import Pools

_MOST_TENANTS = 50
"""Of a queue, that are named."""
_MOST_MODELS = 50


class _Roster(msgspec.Struct, frozen=True):
    """Who is in a pool, as long as its snapshot is the same."""

    members: Members
    names: list[str]
    addresses: list[str]
    accelerators: list[str]


class State:
    """What a picker knows of this moment."""

    def __init__(
        self, pools: Pools, prefix: PrefixIndex, ledger: Ledger, recent: Recent, clock: Callable[[], float]
    ) -> None:
        """Take what is read when somebody asks."""
        self._pools = pools
        self._prefix = prefix
        self._ledger = ledger
        self._recent = recent
        self._clock = clock
        self._began = clock()
        self._version = version("igw")
        self._rosters: dict[str, _Roster] = {}

    def overview(self, holding: Holding) -> Overview:
        """Return this moment; *holding* has the queues."""
        now = self._clock()
        columns = {each.pool.key: each for each in self._pools.all()}
        self._rosters = {key: self._roster(key, each) for key, each in columns.items()}
        full = {pool: value for pool, stage, value in holding.saturation() if stage == "effective"}
        return Overview(
            at=time.time_ns() / 1e9,
            up_seconds=now - self._began,
            version=self._version,
            inflight=self._ledger.statistics().open,
            changes=self._recent.changes + sum(each.picks for each in columns.values()),
            traffic=self._recent.traffic(),
            pools=[self._pool(each, now) for each in columns.values()],
            queues=[_queue(pool, each, full.get(pool, 0.0)) for pool, each in holding.statistics().items()],
        )

    def _roster(self, key: str, columns: Columns) -> _Roster:
        known, members = self._rosters.get(key), columns.pool
        if known is not None and known.members is members:
            return known
        endpoints = members.endpoints
        return _Roster(
            members,
            [each.name for each in endpoints],
            [each.hostport for each in endpoints],
            [each.accelerator for each in endpoints],
        )

    def _pool(self, columns: Columns, now: float) -> Pool:
        roster = self._rosters[columns.pool.key]
        backlog = self._pools.promises_of(columns).backlog_seconds()
        cached = self._prefix.held_tokens(columns.slots.tolist())
        return Pool(
            key=columns.pool.key,
            models=_models(columns),
            names=roster.names,
            addresses=roster.addresses,
            accelerators=roster.accelerators,
            health=_health(columns, now),
            waiting=_known(columns, columns.waiting, 1),
            running=_known(columns, columns.running, 1),
            kv_usage=_known(columns, columns.kv_usage, 3),
            inflight=columns.inflight.tolist(),
            backlog_seconds=[round(backlog.get(each, 0.0), 4) for each in roster.addresses],
            cached_tokens=[held for held, _ in cached],
            cache_tokens=[most for _, most in cached],
        )


def _known(columns: Columns, column: Column, digits: int) -> list[float | None]:
    """Return what engines said themselves; where they did not, the column holds a guess that is for scoring alone."""
    said = zip(column.round(digits).tolist(), columns.reported.tolist(), strict=True)
    return [value if known else None for value, known in said]


def _health(columns: Columns, now: float) -> list[Health]:
    since = now - columns.back_at
    found = np.select(
        [columns.failing, since < 0, ~columns.reported, since < RETURN_SECONDS],
        [Health.FAILING, Health.EJECTED, Health.SILENT, Health.RETURNING],
        Health.ANSWERS,
    )
    named = list(Health)
    return [named[each] for each in found.tolist()]


def _models(columns: Columns) -> list[str]:
    found: set[str] = set()
    for adapters in set(columns.adapters.tolist()):
        found |= {adapters.model, *adapters.running, *adapters.waiting}
    return sorted(found - {""})[:_MOST_MODELS]


def _queue(pool: str, each: Statistics, saturation: float) -> Queue:
    largest = sorted(each.flows.items(), key=lambda flow: -flow[1][0])
    return Queue(
        pool=pool,
        saturation=saturation,
        requests=each.total.requests,
        size_bytes=each.total.size_bytes,
        inflight=each.inflight,
        drain_per_second=each.drain_per_second,
        bands=[
            Band(priority, fill.requests, fill.size_bytes, fill.max_requests, fill.max_bytes)
            for priority, fill in sorted(each.bands.items(), reverse=True)
        ],
        tenants=[
            Tenant(flow, priority, requests, size_bytes)
            for (flow, priority), (requests, size_bytes) in largest[:_MOST_TENANTS]
        ],
        tenants_total=len(largest),
        outcomes=_by_outcome(each),
    )


def _by_outcome(each: Statistics) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for (outcome, _), count in each.outcomes.items():
        found[outcome.value] = found.get(outcome.value, 0) + count
    return found
