"""What goes into the engine of flow control and what comes out: items, claims, effects, and the protocols of its policies.

What the engine remembers of them is in `flows`; HTTP is in `answers`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import Enum, StrEnum
from typing import Any, Protocol, TypeAlias

import msgspec

from igw.flow.flows import Flow, Held


class Outcome(StrEnum):
    """How waiting ended (upstream's names, label `outcome` of its metrics)."""

    DISPATCHED = "Dispatched"
    REJECTED_CAPACITY = "RejectedCapacity"
    REJECTED_NO_ENDPOINTS = "RejectedNoEndpoints"
    REJECTED_OTHER = "RejectedOther"
    """The engine had stopped."""
    EVICTED_TTL = "EvictedTTL"
    EVICTED_NO_ENDPOINTS = "EvictedNoEndpoints"
    EVICTED_CONTEXT_CANCELLED = "EvictedContextCancelled"
    """The client went away."""
    EVICTED_OTHER = "EvictedOther"
    """The engine stopped, or its place could not be decided."""


class Item(msgspec.Struct, frozen=True):
    """One request as flow control sees it. Times are seconds on the caller's monotonic clock."""

    id: int
    flow: str
    """Fairness id: whose turn it takes."""
    priority: int = 0
    lane: Hashable = ""
    """What decides which endpoints could serve it at all: model, adapter, subset. One lane that is full does not stop another."""
    size_bytes: int = 0
    """Of the body, which stays in memory while it waits."""
    prompt_tokens: int = 0
    received_at: float = 0.0
    """When its first byte came; deadlines for the first token count from here."""
    ttl_seconds: float | None = None
    """How long it may wait, by its header or objective, in place of both budgets of the settings; 0: for ever; None: as they say."""
    deadline: float | None = None
    """Until when the caller wants an answer at all."""
    ttft_objective_seconds: float | None = None
    weight: float = 1.0
    """Share of its flow among those of its priority, from the objective; above 0."""


class Placed(msgspec.Struct, frozen=True):
    """A place that is reserved, and what it is thought to take."""

    decision: Any
    uncached_tokens: float = 0.0
    """Prompt tokens to compute there."""
    output_tokens: float = 0.0
    """Expected, until the end says what there were."""


class Refusal(Enum):
    """Why there is no place now."""

    FULL = "full"
    """There is none for anybody of this lane below this ceiling: nobody else of it need be asked."""
    UNFIT = "unfit"
    """Not for this one; a smaller one may have better luck."""


class Headroom(msgspec.Struct, frozen=True):
    """Room that is kept for higher priorities, by what they used lately."""

    window_seconds: float
    max_share: float
    """Of all room."""
    below: int
    """Priorities below this one keep it free."""


class Turn(msgspec.Struct, frozen=True):
    """What a claim is told when it is asked for a place."""

    ceiling: float = 1.0
    """How full the endpoints that could serve it may be, 1 being full by the saturation detector."""
    closed: tuple[Hashable, ...] = ()
    """Endpoints that take nobody else now, because someone has waited too long for them. At most half of the candidates need
    be closed: who places passes over the others."""
    kept: int = 0
    """Requests of higher priority that may be back any moment: room for so many more must be left."""
    kept_share: float = 1.0
    """Of all room: more than this need not be left for them."""


class Weight(msgspec.Struct, frozen=True):
    """How much a request is, where it is least, by what is known now."""

    work_seconds: float
    """Its own work."""
    needs: float = 0.0
    """How much room it takes, in the unit of `Claim.room`: 0 where nobody asks for that."""


class Claim(Protocol):
    """A request's side of the decision: routing's, which knows endpoints, caches and costs."""

    def place(self, turn: Turn, /) -> Placed | Refusal:
        """Pick and reserve in one go, or say why not.

        Raises:
            Exception: the request can go nowhere at all; it leaves the queue with this.
        """
        ...

    def room(self, turn: Turn, /) -> float:
        """Return the most that a request of this lane may need to find a place now; 0: none finds any, infinity: whatever it needs.

        `place` refuses every claim of the lane that needs more, so that those need not be asked.
        """
        ...

    def weigh(self) -> Weight:
        """Return how much it is. That may change when somebody has left for a place: caches do."""
        ...

    def matched_tokens(self) -> float:
        """Return how much of its prompt is cached where most of it is."""
        ...

    def cheapest(self) -> Hashable | None:
        """Return the endpoint where it would cost least, as `Turn.closed` names it."""
        ...


class Dispatched(msgspec.Struct, frozen=True):
    """The item has a place, reserved before anybody else was asked."""

    id: int
    decision: Any
    waited_seconds: float = 0.0


class Rejected(msgspec.Struct, frozen=True):
    """The item was not let in."""

    id: int
    outcome: Outcome
    retry_after_seconds: int | None = None


class Evicted(msgspec.Struct, frozen=True):
    """The item left the queue without a place."""

    id: int
    outcome: Outcome
    waited_seconds: float = 0.0
    retry_after_seconds: int | None = None


class Failed(msgspec.Struct, frozen=True):
    """The item's claim raised: it can go nowhere, or something is broken."""

    id: int
    error: Exception
    waited_seconds: float = 0.0


class EvictInFlight(msgspec.Struct, frozen=True):
    """A request in flight is to be ended, so that someone more important gets its place."""

    id: int


Effect: TypeAlias = Dispatched | Rejected | Evicted | Failed | EvictInFlight


class Ordering(Protocol):
    """Which request of a flow goes first."""

    @property
    def tries(self) -> int:
        """How many requests of a flow may be asked when those before them do not fit; 1: nobody passes anybody."""
        ...

    @property
    def refreshed(self) -> int:
        """How many of a flow's first requests have their work weighed anew in each pass; 0: what it was at arrival counts."""
        ...

    def rank(self, item: Item, arrived_at: float, expires_at: float, work_seconds: float, /) -> float:
        """Return its rank; the least goes first, ties in order of arrival. Must not depend on the time."""
        ...

    @property
    def overtakes(self) -> bool:
        """Whether whoever has waited too long goes before all others of its flow."""
        ...

    def starves_at(self, arrived_at: float, work_seconds: float, /) -> float:
        """Return when it has waited too long: if it does not fit then, an endpoint is kept for it. Must not be infinite."""
        ...


class Shares(Protocol):
    """What a fairness policy keeps of the flows of one band."""

    @property
    def lookahead(self) -> int:
        """How many flows that are even are compared by what of their heads is cached; 0: none."""
        ...

    @property
    def leaves_room(self) -> bool:
        """Whether no flow may fill its band, nor a band the whole, so far that others find it full. Upstream's policies do not care."""
        ...

    @property
    def moves_with_time(self) -> bool:
        """Whether keys change by themselves, so that they must be computed anew. Those of many flows are then a little behind."""
        ...

    def key(self, flow: Flow, head: Held, now: float, /) -> tuple[float, ...]:
        """Return whose turn it is: the least. Those with the same first number are even."""
        ...

    def joined(self, flow: Flow, now: float, /) -> None:
        """Take note of a flow that wants something and had nothing waiting."""
        ...

    def cost(self, prompt_tokens: float, uncached_tokens: float, output_tokens: float, /) -> float:
        """Return what a request is charged for."""
        ...

    def dispatched(self, flow: Flow, cost: float, now: float, /) -> None:
        """Take note of a request that left for its place."""
        ...

    def corrected(self, flow: Flow, more: float, now: float, /) -> None:
        """Take note that a request has cost *more* than was charged; less if negative."""
        ...


class Fairness(Protocol):
    """Which flow of a band goes first."""

    def turns(self) -> Shares:
        """Return a fresh memory for one band."""
        ...


class UsageLimit(Protocol):
    """How full the pool may get for which priority."""

    @property
    def needs_saturation(self) -> bool:
        """Whether the ceilings depend on how full the pool is."""
        ...

    @property
    def headroom(self) -> Headroom | None:
        """What room is kept for higher priorities, by what they used lately; None: none is."""
        ...

    def ceilings(self, priorities: Sequence[int], saturation: float, turn: int, /) -> list[float]:
        """Return one ceiling per band; *priorities* fall, *turn* counts passes."""
        ...


class EvictionFilter(Protocol):
    """Who may be given up."""

    def evictable(self, priority: int, /) -> bool:
        """Return whether a request in flight of this priority may be given up."""
        ...


class EvictionOrder(Protocol):
    """Who is given up first."""

    def victim_rank(self, priority: int, dispatched_at: float, /) -> tuple[float, ...]:
        """Return its rank; the least goes first."""
        ...
