"""When requests in flight are given up for more important ones, and how many: a decision, then silence until its effect shows.

Who may be given up is a policy in `eviction`; ending a request is not here.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice

import msgspec

from igw.flow.api import EvictionFilter, EvictionOrder
from igw.flow.eviction.priority_then_time import PriorityThenTime
from igw.flow.eviction.sheddable import Sheddable
from igw.flow.heap import Entry, Heap

_LOOKED_AT = 64
"""Candidates for giving up that one decision looks at."""


class RevocationSettings(msgspec.Struct, frozen=True):
    """How in-flight eviction goes about it; the numbers are upstream's."""

    may: EvictionFilter = Sheddable()
    order: EvictionOrder = PriorityThenTime()
    most_at_once: int = 2
    grace_seconds: float = 0.5
    """How long the effect takes to show in what is measured, once a request has ended."""
    timeout_seconds: float = 10.0
    after_first_token: bool = False
    """Whether a request may be given up whose client has begun to read."""


class Revocation:
    """Stop and wait: no new victims until those of the last decision have ended and that shows, or it took too long."""

    def __init__(self, settings: RevocationSettings | None) -> None:
        """Take the settings; None: nobody is ever given up."""
        self._settings = settings
        self._victims: Heap[tuple[int, int]] = Heap()
        self._pending: dict[int, float] = {}
        self._quiet_until = -math.inf
        self.issued: Counter[int] = Counter()
        """By the priority for whose sake."""
        self.confirmed = self.timed_out = 0
        self.deficit = 0.0
        """How far above the ceiling the pool was when somebody was last to be given up, or nobody had to be."""

    @property
    def pending(self) -> int:
        """Victims that have not ended yet."""
        return len(self._pending)

    def track(self, request: int, priority: int, now: float) -> Entry | None:
        """Note a request in flight that may be given up; None if it may not."""
        settings = self._settings
        if settings is None or not settings.may.evictable(priority):
            return None
        return self._victims.push(settings.order.victim_rank(priority, now), (request, priority))

    def first_token(self, entry: Entry) -> None:
        """Note that the client has begun to read."""
        if self._settings is not None and not self._settings.after_first_token:
            self._victims.remove(entry)

    def ended(self, request: int, entry: Entry | None, now: float) -> None:
        """Note that a request has ended, for whatever reason."""
        if entry is not None:
            self._victims.remove(entry)
        if self._pending.pop(request, None) is not None:
            self.confirmed += 1
            if not self._pending and self._settings is not None:
                self._quiet_until = now + self._settings.grace_seconds

    def expire(self, now: float) -> None:
        """Give up waiting for victims that do not end."""
        late = [request for request, until in self._pending.items() if until <= now]
        for request in late:
            del self._pending[request]
        self.timed_out += len(late)

    def deadline(self, now: float) -> float:
        """Return when it is worth looking again; infinity if only an event can change anything."""
        pending = min(self._pending.values(), default=math.inf)
        return min(pending, self._quiet_until) if self._quiet_until > now else pending

    def wanted(self, now: float) -> bool:
        """Return whether a decision could be made now."""
        return bool(len(self._victims)) and not self._pending and now >= self._quiet_until

    def decide(
        self, priority: int, ceiling: float, saturation: float, inflight: int, now: float
    ) -> list[int]:
        """Return who is given up for a band that waits at its *ceiling*: as many as bring *saturation* below it, two at most.

        Only requests of lower priority count.
        """
        settings = self._settings
        if settings is None or not self.wanted(now):
            return []
        self.deficit = max(0.0, saturation - ceiling)
        if saturation < ceiling:
            return []
        each = saturation / max(1, inflight)
        enough = max(1, math.ceil((saturation - ceiling) / each)) if each > 0 else 1
        below = [entry for entry in islice(self._victims.in_order(), _LOOKED_AT) if entry[1] < priority]
        chosen = [request for request, _ in below[: min(enough, settings.most_at_once)]]
        for request in chosen:
            self._pending[request] = now + settings.timeout_seconds
        if chosen:
            self.issued[priority] += len(chosen)
        return chosen
