"""The pools this picker serves, each with its columns: swapped whole when discovery says so."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints
from igw.outcomes.ledger import Ledger
from igw.prefix.index import PrefixIndex
from igw.request import Head
from igw.work.promises import Promises

Rows: TypeAlias = slice | NDArray[np.intp]
"""Which rows of a pool's columns: all of them without a copy, or some by their numbers."""


class Pools:
    """Owner of the columns of every pool; keys are `namespace/name`."""

    def __init__(self, prefix: PrefixIndex, ledger: Ledger) -> None:
        self._prefix = prefix
        self._ledger = ledger
        self._columns: dict[str, Columns] = {}
        self._left: tuple[Callable[[str], None], ...] = ()
        self._promises: dict[str, Promises] = {}
        self._named: dict[str, Columns] = {}  # as gateways name them: the only pool needs no name

    def listen(self, left: Callable[[str], None]) -> None:
        """Tell *left* too of every endpoint that leaves its pool, by `ip:port`."""
        self._left = (*self._left, left)

    def adopt(self, pools: Mapping[str, Pool]) -> None:
        """Serve exactly *pools* from now on. What is known of endpoints that stay is kept."""
        before = {
            endpoint.hostport for columns in self._columns.values() for endpoint in columns.pool.endpoints
        }
        self._columns = {key: self._adopted(key, pool) for key, pool in pools.items()}
        self._promises = {key: self._followed(key, columns) for key, columns in self._columns.items()}
        after = {endpoint.hostport for pool in pools.values() for endpoint in pool.endpoints}
        for hostport in before - after:
            self._prefix.remove(hostport)
            for left in self._left:
                left(hostport)
        self._named = dict(self._columns)
        if len(self._columns) == 1:
            (self._named[""],) = self._columns.values()

    def _adopted(self, key: str, pool: Pool) -> Columns:
        columns = self._columns.get(key)
        if columns is None:
            return Columns(pool, self._prefix.slot)
        if columns.pool is not pool:
            columns.adopt(pool)
            self._ledger.recount(columns)
        return columns

    def _followed(self, key: str, columns: Columns) -> Promises:
        promises = self._promises.get(key)
        if promises is None:
            promises = Promises()
        promises.model.place({endpoint.hostport: endpoint.accelerator for endpoint in columns.pool.endpoints})
        slots = columns.slots.tolist()
        promises.adopt(dict(zip(slots, columns.row, strict=True)))
        for slot, endpoint in zip(slots, columns.pool.endpoints, strict=True):
            promises.seat(slot, endpoint.seats)
        return promises

    def promises_of(self, columns: Columns) -> Promises:
        """Return the work promised in the pool of *columns*: its endpoints share what is learned of their speed."""
        return self._promises[columns.pool.key]

    def promises(self) -> Iterable[Promises]:
        """Return the promised work of every pool."""
        return self._promises.values()

    def columns_of(self, key: str) -> Columns | None:
        """Return the columns of the pool *key*; of the only pool when the gateway named none."""
        return self._named.get(key)

    def serving(self, head: Head) -> Columns:
        """Return the columns of the pool that *head* is for.

        Raises:
            NoEndpoints: there is no such pool.
        """
        columns = self._named.get(head.pool)
        if columns is None:
            named = (
                f"no pool {head.pool!r} here"
                if head.pool
                else "the gateway named no pool and there is not exactly one"
            )
            raise NoEndpoints(named)
        return columns

    def all(self) -> Iterable[Columns]:
        """Return the columns of every pool."""
        return self._columns.values()


def candidates(columns: Columns, head: Head, now: float) -> tuple[tuple[Endpoint, ...], Rows]:
    """Return the endpoints that may serve a request, and their rows in the pool's columns.

    They are the gateway's subset, without those that refuse connections or are ejected at *now*. When all of them seem to refuse, all are
    candidates: an engine whose metrics page is broken may still serve. An endpoint that returns after an ejection is a candidate for a
    growing share of requests.

    Raises:
        NoEndpoints: nothing is left.
    """
    endpoints = columns.pool.endpoints
    if head.subset is not None:
        allowed = set(head.subset)
        endpoints = tuple(e for e in endpoints if e.hostport in allowed or e.address in allowed)
        if not endpoints and columns.pool.endpoints:
            raise NoEndpoints(f"the gateway's subset hint names no endpoint of pool {columns.pool.key}")
    if not endpoints:
        raise NoEndpoints(f"pool {columns.pool.key} has no endpoint that may serve this request")
    row = columns.row
    if columns.any_failing:
        failing = columns.failing
        endpoints = tuple(e for e in endpoints if not failing[row[e.hostport]]) or endpoints
    if columns.any_ejected:
        shares = columns.shares(now)
        endpoints = tuple(e for e in endpoints if random.random() < shares[row[e.hostport]]) or endpoints
    if len(endpoints) == len(columns.pool.endpoints):
        return columns.pool.endpoints, slice(None)
    return endpoints, np.array([row[endpoint.hostport] for endpoint in endpoints], dtype=np.intp)
