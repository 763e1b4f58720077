"""A request's side of flow control: is there a place for it now, and where? Who is asked when is `flow`'s business; the pick is the router's.

Prompt and hashes stay as long as it waits; what is known of endpoints is looked at anew each time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.errors import NotCached
from igw.facts import Column, Facts
from igw.flow.api import Placed, Refusal, Turn
from igw.flow.saturation import Detector, saturation
from igw.request import Request
from igw.routing.producing import Waited
from igw.scheduling.scheduler import Choice
from igw.work.cost import Promised
from igw.work.room import MEMORY_TERM, has_room

_MOST_CLOSED = 0.5
"""Of the candidates: so many at most are kept for those that have waited too long."""


class View(msgspec.Struct, frozen=True):
    """What is known of the candidates of one request in one moment. Not to be kept over an await."""

    endpoints: tuple[Endpoint, ...]
    facts: Facts
    promised: Promised | None = None
    """None: nobody asks for the cost of work here."""

    def without(self, closed: NDArray[np.bool_]) -> View:
        """Return what is known of the others. Shape: [candidates]."""
        facts = self.facts.narrowed(~closed)
        promised = self.promised
        if promised is not None:
            promised = Promised(promised.rows[:, ~closed], promised.any_blocked)
        return View(facts.endpoints, facts, promised)


def fullness(view: View, detector: Detector | None) -> float:
    """Return how full the candidates are, 1 being full: by *detector*, and by the share without room where work is priced."""
    full = 0.0 if detector is None else saturation(detector, view.facts, learnt_limits(detector, view.facts))
    if view.promised is not None:
        room = has_room(view.promised, view.facts.costs["backlog"], view.facts.waiting)
        full = max(full, 1.0 - float(room.mean()))
    return full


def learnt_limits(detector: Detector, facts: Facts) -> Column | None:
    """Return the concurrency that *detector* has learnt, if it does. Shape: [candidates]."""
    limits = getattr(detector, "limits", None)
    return None if limits is None else limits(facts)


class Picking(Protocol):
    """What a claim needs of the router."""

    detector: Detector | None

    def look(
        self, request: Request, columns: Columns, waited: Waited | None, blocks: Sequence[int] | None, /
    ) -> View:
        """Return what is known now."""
        ...

    def choose(self, request: Request, facts: Facts, /) -> Choice:
        """Return the best candidates."""
        ...

    def reserve(self, claim: Claim, view: View, choice: Choice, /) -> Decision:
        """Reserve the best one."""
        ...

    def output_tokens(self, request: Request, columns: Columns, /) -> float:
        """Return how long the answer will be, about."""
        ...


class Claim:
    """One request that asks for a place (`igw.flow.api.Claim`). Once it has one, it is not to be asked again."""

    __slots__ = ("_blocks", "_router", "_waited", "columns", "id", "received_at", "request")

    def __init__(
        self,
        router: Picking,
        number: int,
        request: Request,
        columns: Columns,
        waited: Waited | None,
        received_at: float,
    ) -> None:
        """Take the number that its decision will have, and what asynchronous producers have found out for it."""
        self._router = router
        self._waited = waited
        self._blocks: Sequence[int] | None = None
        self.id = number
        self.request = request
        self.columns = columns
        self.received_at = received_at
        """Since when it asks for a place, in seconds on the picker's monotonic clock."""

    def decide(self) -> Decision:
        """Pick and reserve, whether there is room or not.

        Raises:
            Rejected: it goes nowhere.
        """
        view = self._look()
        return self._router.reserve(self, view, self._router.choose(self.request, view.facts))

    def place(self, turn: Turn) -> Placed | Refusal:
        """Pick and reserve if one of its candidates has room; then it goes where it costs least of all, busy or not.

        Raises:
            Rejected: it goes nowhere at all.
        """
        view = self._look()
        if self.request.conditional and not view.facts.matched_tokens.any():
            raise NotCached("no endpoint is believed to have this prompt in its cache")
        refusal = self._refusal(view, turn)
        if refusal is not None:
            return refusal
        if turn.closed:
            view = self._open(view, turn)
        choice = self._router.choose(self.request, view.facts)
        if choice.left_out:
            left = np.ones(len(view.endpoints), dtype=bool)
            for indices in choice.left_out.values():
                left[list(indices)] = False
            if self._refusal(view.without(~left), turn) is not None:
                return Refusal.UNFIT  # for those that other filters leave, there may be room
        decision = self._router.reserve(self, view, choice)
        return Placed(
            decision,
            float(decision.uncached_tokens),
            self._router.output_tokens(self.request, self.columns),
        )

    def has_room(self, turn: Turn) -> bool:
        """Return whether anybody's request may find a place."""
        return self._refusal(self._look(), turn) is not Refusal.FULL

    def work_seconds(self) -> float:
        """Return its own prefill where that is least; in tokens, a thousandth of a second each, where nobody learns how long they take."""
        view = self._look()
        if view.promised is not None:
            return float(view.facts.own_cost.min())
        return max(1.0, self.request.prompt_tokens - float(view.facts.matched_tokens.max())) / 1000

    def matched_tokens(self) -> float:
        """Return how much of its prompt is believed cached where most of it is."""
        return float(self._look().facts.matched_tokens.max())

    def cheapest(self) -> Hashable | None:
        """Return `ip:port` of the endpoint where it costs least; None where nobody asks for costs."""
        view = self._look()
        return view.endpoints[int(view.facts.cost.argmin())].hostport if view.promised is not None else None

    def _look(self) -> View:
        view = self._router.look(self.request, self.columns, self._waited, self._blocks)
        self._blocks = view.facts.blocks
        return view

    def _refusal(self, view: View, turn: Turn) -> Refusal | None:
        """Return why none of the candidates is to get anything now; None if one may."""
        facts, promised = view.facts, view.promised
        detector = self._router.detector
        if detector is not None and fullness(view, detector) >= turn.ceiling:
            return Refusal.FULL
        if promised is None:
            return None
        inflight = promised.column("queued") + promised.column("running")
        # An idle endpoint has room for anybody: mostly there is no need to look further.
        if turn.ceiling >= 1.0 and not turn.closed and inflight.item(inflight.argmin()) == 0.0:
            return None
        room = has_room(promised, facts.costs["backlog"], facts.waiting)
        if turn.closed:
            room &= ~self._closed(view, turn)
        count, free = len(room), np.count_nonzero(room)
        # How full they are is the share of them without room: 1 means all.
        if not free or (turn.ceiling < 1.0 and count - free >= turn.ceiling * count):
            return Refusal.FULL
        memory = facts.costs[MEMORY_TERM]
        # Where memory is short for nobody, as nearly always, there is no need to look at who is idle.
        if memory.item(memory.argmax()) <= 0.0:
            return None
        fits = (memory == 0.0) | (inflight == 0.0)
        return None if (room & fits).any() else _shortage(promised, room)

    def _closed(self, view: View, turn: Turn) -> NDArray[np.bool_]:
        """Return which candidates take nobody else now: the first ones to be closed, at most half."""
        most = int(_MOST_CLOSED * len(view.endpoints))
        row = {endpoint.hostport: index for index, endpoint in enumerate(view.endpoints)}
        closed = [row[name] for name in turn.closed if name in row][:most]
        mask = np.zeros(len(view.endpoints), dtype=bool)
        mask[closed] = True
        return mask

    def _open(self, view: View, turn: Turn) -> View:
        closed = self._closed(view, turn)
        return view.without(closed) if closed.any() else view


def _shortage(promised: Promised, room: NDArray[np.bool_]) -> Refusal:
    """Return whether the next one may fit where this one did not, among those with *room*. Shape: [candidates].

    Where no memory is left, or the engine keeps requests waiting for some, even the smallest does not fit: no need to try others.
    """
    some = (promised.column("free_tokens") > 0.0) & (promised.column("turns") == 0.0)
    return Refusal.UNFIT if (room & some).any() else Refusal.FULL
