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
from igw.errors import NobodyLeft, NotCached
from igw.facts import Column, Facts
from igw.flow.api import Placed, Refusal, Turn, Weight
from igw.flow.saturation import Detector, saturation
from igw.request import Request
from igw.routing.pricing import Prospect
from igw.routing.producing import Waited
from igw.scheduling.scheduler import Choice
from igw.work.cost import needed_tokens
from igw.work.room import fill, memory, spare

_MOST_CLOSED = 0.5
"""Of the candidates: so many at most are kept for those that have waited too long."""


_ROUNDING = 1e-9
"""Half the seats and room kept for the other half are full."""


class View(msgspec.Struct, frozen=True):
    """What is known of the candidates of one request in one moment. Not to be kept over an await."""

    endpoints: tuple[Endpoint, ...]
    facts: Facts
    prospect: Prospect | None = None
    """None: nobody asks for the cost of work here."""

    def without(self, closed: NDArray[np.bool_]) -> View:
        """Return what is known of the others. Shape: [candidates]."""
        facts = self.facts.narrowed(~closed)
        return View(
            facts.endpoints, facts, None if self.prospect is None else self.prospect.narrowed(~closed)
        )


def fullness(view: View, detector: Detector | None) -> float:
    """Return how full the candidates are, 1 being full: by *detector*, and by what is taken of their room where work is priced."""
    full = 0.0 if detector is None else saturation(detector, view.facts, learnt_limits(detector, view.facts))
    if view.prospect is not None:
        taken = fill(view.prospect.promised, view.prospect.backlog_seconds, view.facts.waiting)
        full = max(full, float(taken.mean()))
    return full


def learnt_limits(detector: Detector, facts: Facts) -> Column | None:
    """Return the concurrency that *detector* has learnt, if it does. Shape: [candidates]."""
    limits = getattr(detector, "limits", None)
    return None if limits is None else limits(facts)


class Picking(Protocol):
    """What a claim needs of the router."""

    @property
    def detector(self) -> Detector | None:
        """What tells how full candidates are."""
        ...

    def look(
        self, request: Request, columns: Columns, waited: Waited | None, blocks: Sequence[int] | None, /
    ) -> View:
        """Return what is known now, but for costs."""
        ...

    def priced(self, request: Request, view: View, /) -> View:
        """Return *view*, which has a prospect, with costs."""
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
        view = self._look(priced=True)
        return self._router.reserve(self, view, self._router.choose(self.request, view.facts))

    def place(self, turn: Turn) -> Placed | Refusal:
        """Pick and reserve if one of its candidates has room; then it goes where it costs least of those `_open` to it.

        Raises:
            Rejected: it goes nowhere at all.
        """
        view = self._look()
        if self.request.conditional and not view.facts.matched_tokens.any():
            raise NotCached("no endpoint is believed to have this prompt in its cache")
        open_ = self._open(view, turn)
        if isinstance(open_, Refusal):
            return open_
        if view.prospect is not None:
            view = self._router.priced(self.request, view)
        everybody = view
        if open_ is not None and not open_.all():
            view = view.without(~open_)
        try:
            choice = self._router.choose(self.request, view.facts)
        except NobodyLeft:
            if view is everybody:
                raise
            self._router.choose(self.request, everybody.facts)
            return Refusal.UNFIT  # filters leave others, which will have room
        if choice.left_out:
            left = np.ones(len(view.endpoints), dtype=bool)
            for indices in choice.left_out.values():
                left[list(indices)] = False
            if isinstance(self._open(view.without(~left), turn), Refusal):
                return Refusal.UNFIT  # for those that other filters leave, there may be room
        decision = self._router.reserve(self, view, choice)
        return Placed(
            decision,
            float(decision.uncached_tokens),
            self._router.output_tokens(self.request, self.columns),
        )

    def room(self, turn: Turn) -> float:
        """Return the KV memory in tokens that is free where most of it is among endpoints with room, infinity where one is idle."""
        free = self._spare(self._look(), turn)
        return np.inf if free is None else float(free.max())

    def weigh(self) -> Weight:
        """Return its own prefill and the KV memory that it needs, where they are least.

        Where nobody learns how long prefill takes, a token counts as a thousandth of a second, and nobody asks for memory.
        """
        view = self._look()
        prospect = view.prospect
        if prospect is None:
            return Weight(
                max(1.0, self.request.prompt_tokens - float(view.facts.matched_tokens.max())) / 1000
            )
        if self.request.generation is None and not view.facts.fetches:
            own = prospect.own_seconds
        else:
            own = self._router.priced(self.request, view).facts.own_cost
        return Weight(float(own.min()), float(needed_tokens(prospect.work).min()))

    def matched_tokens(self) -> float:
        """Return how much of its prompt is believed cached where most of it is."""
        return float(self._look().facts.matched_tokens.max())

    def cheapest(self) -> Hashable | None:
        """Return `ip:port` of the endpoint where it costs least; None where nobody asks for costs."""
        view = self._look(priced=True)
        return view.endpoints[int(view.facts.cost.argmin())].hostport if view.prospect is not None else None

    def _look(self, *, priced: bool = False) -> View:
        view = self._router.look(self.request, self.columns, self._waited, self._blocks)
        self._blocks = view.facts.blocks
        return self._router.priced(self.request, view) if priced and view.prospect is not None else view

    def _open(self, view: View, turn: Turn) -> NDArray[np.bool_] | Refusal | None:
        """Return which candidates may get it, None for all, or why none may. Shape: [candidates].

        If there is room for it anywhere: those with enough memory, busy or not, and others that have more of its prompt cached than any of
        those. The price of memory is a guess; hundreds would follow it in one look.
        """
        free = self._spare(view, turn)
        if free is None:
            return None
        if view.prospect is None or free.item(free.argmax()) <= 0.0:
            return Refusal.FULL
        needed = needed_tokens(view.prospect.work)
        if not (needed <= free).any():
            return Refusal.UNFIT
        matched = view.facts.matched_tokens
        open_: NDArray[np.bool_] = needed <= memory(view.prospect.promised)
        open_ |= matched > matched[open_].max()
        if turn.closed:
            open_ &= ~self._closed(view, turn)
        return open_

    def _spare(self, view: View, turn: Turn) -> Column | None:
        """Return what is free for one more request at each candidate (`work.room.spare`); None: for any request. Shape: [candidates]."""
        detector, prospect = self._router.detector, view.prospect
        # With neither, how full they are is whether anybody has room, which is cheaper to tell.
        measured = detector is not None or turn.kept or turn.ceiling < 1.0
        if measured and (full := fullness(view, detector)) >= self._ceiling(view, turn, full):
            return np.zeros(len(view.endpoints))
        if prospect is None:
            return None
        promised = prospect.promised
        inflight = promised.column("queued") + promised.column("running")
        # An idle endpoint has room for anybody: mostly there is no need to look further.
        if not turn.closed and inflight.item(inflight.argmin()) == 0.0:
            return None
        free = spare(promised, prospect.backlog_seconds, view.facts.waiting)
        if turn.closed:
            free[self._closed(view, turn)] = 0.0
        return free

    def _ceiling(self, view: View, turn: Turn, full: float) -> float:
        """Return how full its candidates may be, which are *full*: less by what their share of the kept requests would take."""
        inflight = float(view.facts.inflight.sum())
        if not turn.kept or not inflight:
            return turn.ceiling
        kept = turn.kept * len(view.endpoints) / len(self.columns.pool.endpoints)
        return turn.ceiling - min(turn.kept_share, kept * full / inflight) - _ROUNDING

    def _closed(self, view: View, turn: Turn) -> NDArray[np.bool_]:
        """Return which candidates take nobody else now: the first ones to be closed, at most half."""
        most = int(_MOST_CLOSED * len(view.endpoints))
        row = {endpoint.hostport: index for index, endpoint in enumerate(view.endpoints)}
        closed = [row[name] for name in turn.closed if name in row][:most]
        mask = np.zeros(len(view.endpoints), dtype=bool)
        mask[closed] = True
        return mask
