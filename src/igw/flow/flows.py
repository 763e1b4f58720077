"""What the engine remembers: requests that wait, the flows they belong to, and their lines. Who is next is decided in `band`."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from igw.flow.heap import Entry, Heap

if TYPE_CHECKING:
    from collections.abc import Hashable

    from igw.flow.api import Claim, Item, Turn


class Flow:
    """One tenant of one priority. Its counters belong to the band's fairness policy."""

    __slots__ = (
        "counter", "deficit", "id", "idle_since", "inflight", "lines", "round", "served_at", "turn", "waiting", "waiting_bytes", "weight",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.id = name
        self.weight = 1.0
        self.lines: dict[Hashable, Line] = {}
        """By lane; only those in which something waits."""
        self.waiting = 0
        self.waiting_bytes = 0
        self.inflight = 0
        self.idle_since = 0.0
        self.counter = 0.0
        """Service so far, over the weight."""
        self.served_at = 0.0
        self.deficit = 0.0
        """Service that it may still take in its round."""
        self.round = 0
        self.turn = 0


class Line:
    """What one flow has waiting in one lane."""

    __slots__ = ("entered", "entry", "flow", "gone", "guard", "items", "weighed_after")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.items: Heap[Held] = Heap()
        self.guard: Heap[Held] = Heap()
        """By the time from which they have waited too long."""
        self.entry: Entry | None = None
        """In the lane's heap of lines."""
        self.weighed_after = -1
        """How many had left when the first ones were weighed."""
        self.entered = 0
        self.gone = 0

    def head(self, now: float) -> Held:
        """Return who is first: whoever has waited too long, else the least rank."""
        starving = self.guard.first()
        if starving is not None and starving[0] <= now:
            held: Held = starving[2]
            return held
        return self.items.top()


class Held:
    """One request that waits."""

    __slots__ = (
        "_kept", "_kept_after", "_weighed_after", "arrived_at", "claim", "entry", "expires_at", "expiry", "guarded", "item", "line",
        "needs", "number", "place_in_line", "starves_at", "work_seconds",
    )  # fmt: skip

    def __init__(self, item: Item, claim: Claim, number: int, arrived_at: float) -> None:
        self.item = item
        self.claim = claim
        self.number = number
        """Order of arrival."""
        self.arrived_at = arrived_at
        self.expires_at = 0.0
        self.work_seconds = self.needs = 0.0
        self.starves_at = 0.0
        self.line: Line
        self.entry: Entry
        self.expiry: Entry | None = None
        self.guarded: Entry | None = None
        self.place_in_line = 0
        self._weighed_after = self._kept_after = -1
        self._kept: Hashable | None = None

    # What a claim says of itself holds until somebody leaves for a place: *left* counts those.
    # A claim that cannot tell is no reason to stop the others: what is wrong with it shows when it is asked for a place.

    def weigh(self, left: int) -> None:
        """Ask its claim how much it is."""
        if self._weighed_after != left:
            self._weighed_after = left
            with suppress(Exception):
                weight = self.claim.weigh()
                self.work_seconds, self.needs = weight.work_seconds, weight.needs

    def matched_tokens(self) -> float:
        """Return how much of its prompt is cached somewhere; 0 if nobody can tell."""
        try:
            return self.claim.matched_tokens()
        except Exception:
            return 0.0

    def room(self, turn: Turn) -> float:
        """Return the most that one of its lane may need to find a place."""
        try:
            return self.claim.room(turn)
        except Exception:
            return math.inf

    def cheapest(self, left: int) -> Hashable | None:
        """Return the endpoint that is to be kept for it."""
        if self._kept_after != left:
            self._kept_after = left
            with suppress(Exception):
                self._kept = self.claim.cheapest()
        return self._kept


class InFlight:
    """One request that has its place and has not ended."""

    __slots__ = (
        "band",
        "cost",
        "dispatched_at",
        "flow",
        "output_tokens",
        "prompt_tokens",
        "uncached_tokens",
        "victim",
    )

    def __init__(self, band: Any, flow: Flow, cost: float, dispatched_at: float) -> None:
        self.band = band
        self.flow = flow
        self.cost = cost
        self.dispatched_at = dispatched_at
        self.prompt_tokens = 0.0
        self.uncached_tokens = 0.0
        self.output_tokens = 0.0
        self.victim: Entry | None = None
