"""The pools this picker serves, each with its columns: swapped whole when discovery says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints
from igw.outcomes.ledger import Ledger
from igw.prefix.index import PrefixIndex
from igw.request import Head

Rows: TypeAlias = slice | NDArray[np.intp]
"""Which rows of a pool's columns: all of them without a copy, or some by their numbers."""


class Pools:
    """Owner of the columns of every pool; keys are `namespace/name`."""

    def __init__(self, prefix: PrefixIndex, ledger: Ledger) -> None:
        self._prefix = prefix
        self._ledger = ledger
        self._columns: dict[str, Columns] = {}
        self._named: dict[str, Columns] = {}  # as gateways name them: the only pool needs no name

    def adopt(self, pools: Mapping[str, Pool]) -> None:
        """Serve exactly *pools* from now on. What is known of endpoints that stay is kept."""
        before = {
            endpoint.hostport for columns in self._columns.values() for endpoint in columns.pool.endpoints
        }
        self._columns = {key: self._adopted(key, pool) for key, pool in pools.items()}
        after = {endpoint.hostport for pool in pools.values() for endpoint in pool.endpoints}
        for hostport in before - after:
            self._prefix.remove(hostport)
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


def candidates(columns: Columns, head: Head) -> tuple[tuple[Endpoint, ...], Rows]:
    """Return the endpoints that may serve a request, and their rows in the pool's columns.

    They are the gateway's subset, without those that refuse connections. When all of them seem to refuse, all are candidates: an engine
    whose metrics page is broken may still serve.

    Raises:
        NoEndpoints: nothing is left.
    """
    endpoints = columns.pool.endpoints
    if head.subset is not None:
        allowed = set(head.subset)
        endpoints = tuple(e for e in endpoints if e.hostport in allowed or e.address in allowed)
    if not endpoints:
        raise NoEndpoints(f"pool {columns.pool.key} has no endpoint that may serve this request")
    row = columns.row
    if columns.any_failing:
        failing = columns.failing
        endpoints = tuple(e for e in endpoints if not failing[row[e.hostport]]) or endpoints
    if endpoints is columns.pool.endpoints:
        return endpoints, slice(None)
    return endpoints, np.array([row[endpoint.hostport] for endpoint in endpoints], dtype=np.intp)
