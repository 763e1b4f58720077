"""Until when a request may wait: two budgets, one for pools with endpoints and one for empty ones. Who has waited too long is told by `engine`."""

from __future__ import annotations

import math

from igw.flow.api import Item


class Budgets:
    """Time to wait, charged from arrival or from when the pool last became empty or stopped being so, whichever is later."""

    def __init__(self, request_ttl_seconds: float, no_endpoint_ttl_seconds: float) -> None:
        """Take both budgets; 0 is for ever."""
        self._budgets = (request_ttl_seconds or math.inf, no_endpoint_ttl_seconds or math.inf)
        self.empty = False
        self._since = -math.inf

    def change(self, *, empty: bool, now: float) -> bool:
        """Note whether the pool is empty; return whether that is new, so that everybody's time must be computed again."""
        if empty == self.empty:
            return False
        self.empty, self._since = empty, now
        return True

    def expires_at(self, item: Item, arrived_at: float) -> float:
        """Return when *item* has waited too long; infinity for never.

        A change of the pool gives a new budget, but all of it never exceeds the longer one (upstream's rule).
        """
        budgets = self._budgets
        if item.ttl_seconds is not None:
            budgets = (item.ttl_seconds or math.inf,) * 2
        until = min(max(arrived_at, self._since) + budgets[self.empty], arrived_at + max(budgets))
        return until if item.deadline is None else min(until, item.deadline)
