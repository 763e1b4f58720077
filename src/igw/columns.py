"""What is believed of each endpoint of a pool right now: one array per quantity, in pool order.

Each column has one writer: `scraping` writes what engines say, `outcomes` what was promised to them, `prefix` nothing but its slots.
Everything runs on one event loop, so a reader that does not await in between sees one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from igw.endpoint import Endpoint, Pool
from igw.facts import Adapters, Column

RETURN_SECONDS = 30.0
"""How long it takes an endpoint that was ejected to be a candidate for every request again."""
_FIRST_SHARE = 0.1
_NO_ADAPTERS = Adapters()


class Columns:
    """The columns of one pool. Adopting a new snapshot keeps the rows of endpoints that stay."""

    def __init__(self, pool: Pool, slot_of: Callable[[str], int]) -> None:
        self._slot_of = slot_of
        self.pool = Pool(pool.name, pool.namespace, ())
        self.row: dict[str, int] = {}
        self.waiting: Column = np.zeros(0)
        self.running: Column = np.zeros(0)
        self.kv_usage: Column = np.zeros(0)
        self.inflight: Column = np.zeros(0)
        self.inflight_tokens: Column = np.zeros(0)
        self.adapters: NDArray[np.object_] = np.zeros(0, dtype=object)
        """`Adapters` as last reported; empty for an engine that does not speak of them."""
        self.scalars: dict[str, Column] = {}
        """Custom metrics by key; NaN where an engine does not have them."""
        self._told = np.zeros((3, 0), dtype=bool)
        """Which of waiting, running and KV usage the last report had."""
        self.reported = np.zeros(0, dtype=bool)
        """Whether the engine has said anything since it was last (re)started, as far as we know."""
        self.failing = np.zeros(0, dtype=bool)
        """Whether the endpoint refused us lately: by missed scrapes or by a failed request."""
        self.slots = np.zeros(0, dtype=np.intp)
        """Row -> slot in the prefix index."""
        self.any_failing = False
        self.back_at: Column = np.zeros(0)
        """When an ejection ends or ended, on the picker's clock; -inf for an endpoint that was not ejected."""
        self.any_ejected = False
        self.picks = 0
        """Picks so far: how much use fresh metrics are."""
        self.adopt(pool)

    def adopt(self, pool: Pool) -> list[Endpoint]:
        """Take *pool* as the current snapshot and return the endpoints that left."""
        old_rows, rows = self.row, {endpoint.hostport: row for row, endpoint in enumerate(pool.endpoints)}
        gone = [endpoint for endpoint in self.pool.endpoints if endpoint.hostport not in rows]
        kept = [(row, old_rows[where]) for where, row in rows.items() if where in old_rows]
        to, source = [new for new, _ in kept], [old for _, old in kept]
        for name in ("waiting", "running", "kv_usage", "inflight", "inflight_tokens", "reported", "failing"):
            old = getattr(self, name)
            new = np.zeros(len(rows), dtype=old.dtype)
            new[to] = old[source]
            setattr(self, name, new)
        old, self.adapters = self.adapters, np.full(len(rows), _NO_ADAPTERS, dtype=object)
        self.adapters[to] = old[source]
        old_told, self._told = self._told, np.ones((3, len(rows)), dtype=bool)
        self._told[:, to] = old_told[:, source]
        for key, values in self.scalars.items():
            self.scalars[key] = np.full(len(rows), np.nan)
            self.scalars[key][to] = values[source]
        old, self.back_at = self.back_at, np.full(len(rows), -np.inf)
        self.back_at[to] = old[source]
        self.pool, self.row = pool, rows
        self.slots = np.array([self._slot_of(where) for where in rows], dtype=np.intp)
        self.any_failing = bool(self.failing.any())
        self._spread_unknown()
        return gone

    def report(
        self, hostport: str, waiting: float | None, running: float | None, kv_usage: float | None
    ) -> None:
        """Write what an engine said of itself, None for what it did not say; it is answering, so it is no longer failing."""
        row = self.row.get(hostport)
        if row is None:
            return
        columns = (self.waiting, self.running, self.kv_usage)
        for of, (column, value) in enumerate(zip(columns, (waiting, running, kv_usage), strict=True)):
            self._told[of, row] = value is not None
            if value is not None:
                column[row] = value
        self.reported[row] = True
        self._spread_unknown()
        if self.failing[row]:
            self.failing[row] = False
            self.any_failing = bool(self.failing.any())

    def report_adapters(self, hostport: str, adapters: Adapters | None) -> None:
        """Write what an engine said of its LoRA adapters; None if it said nothing."""
        row = self.row.get(hostport)
        if row is not None:
            self.adapters[row] = adapters or _NO_ADAPTERS

    def report_scalars(self, hostport: str, scalars: Mapping[str, float]) -> None:
        """Write an engine's custom metrics, all that it has."""
        row = self.row.get(hostport)
        if row is None or not (scalars or self.scalars):
            return
        for column in self.scalars.values():
            column[row] = np.nan
        for key, value in scalars.items():
            self.scalars.setdefault(key, np.full(len(self.row), np.nan))[row] = value
        # The configuration may have changed, and nobody has some of them any more.
        if len(self.scalars) > len(scalars):
            self.scalars = {key: column for key, column in self.scalars.items() if not np.isnan(column).all()}

    def fail(self, hostport: str) -> None:
        """Note that an endpoint cannot be reached: it is no candidate until it reports again."""
        row = self.row.get(hostport)
        if row is not None:
            self.failing[row] = self.any_failing = True
            self.expire(hostport)

    def expire(self, hostport: str) -> None:
        """Believe nothing any more of what an engine said of itself: it is too long ago."""
        row = self.row.get(hostport)
        if row is not None and self.reported[row]:
            self.reported[row] = False
            for column in self.scalars.values():
                column[row] = np.nan
            self._spread_unknown()

    def eject(self, hostport: str, back_at: float) -> None:
        """Make an endpoint no candidate until *back_at*; from then on it returns gradually (`shares`)."""
        row = self.row.get(hostport)
        if row is not None:
            self.back_at[row] = back_at
            self.any_ejected = True

    def shares(self, now: float) -> Column:
        """Return for which share of requests each endpoint is a candidate: 1 but for those ejected, 0, and those returning."""
        shares = np.clip((now - self.back_at) / RETURN_SECONDS, _FIRST_SHARE, 1.0)
        shares[now < self.back_at] = 0.0
        return shares

    def _spread_unknown(self) -> None:
        """Give endpoints that are not known the mean of those that are: one that is new, or silent, looks neither idle nor full."""
        if self.reported.all() and self._told.all():
            return
        for told, column in zip(self._told, (self.waiting, self.running, self.kv_usage), strict=True):
            known = self.reported & told
            among = known if known.any() else slice(None)
            if not known.all():
                column[~known] = column[among].mean()
