"""The ledger of reservations: opened inside a pick, closed once by an outcome or by a deadline, whichever comes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from igw.columns import Columns
from igw.decision import Decision
from igw.outcomes.outcome import End, Outcome

Listener = Callable[[Decision, Outcome], None]
"""Told of every request that ended, once."""


REQUEST_ID = "x-request-id"
"""Set by Envoy on every request, and in its log. A client may choose it, so it serves only where there is nothing better."""

_MOST_OVER = 4096


class LedgerStatistics(msgspec.Struct, frozen=True):
    """Reservations now open, and how many ended by deadline since the start."""

    open: int
    expired: int


class Ledger:
    """Owner of the in-flight columns: what we promised to each endpoint and has not ended."""

    def __init__(self, deadline_seconds: float, listeners: Sequence[Listener] = ()) -> None:
        self._deadline_seconds = deadline_seconds
        self._listeners = tuple(listeners)
        self._open: dict[int, tuple[Decision, Columns]] = {}  # oldest first
        self._by_request: dict[str, int] = {}
        self._over: OrderedDict[str, Outcome] = OrderedDict()  # ended before they were opened, oldest first
        self._expired = 0

    def listen(self, listener: Listener) -> None:
        """Tell *listener* of every end too."""
        self._listeners = (*self._listeners, listener)

    def open(self, decision: Decision, columns: Columns) -> None:
        """Reserve one request on the picked endpoint, until it is closed."""
        self._open[decision.id] = (decision, columns)
        request_id = decision.request.head.headers.get(REQUEST_ID)
        if request_id is not None:
            self._by_request[request_id] = decision.id
        row = columns.row[decision.endpoint.hostport]
        columns.inflight[row] += 1
        columns.inflight_tokens[row] += decision.uncached_tokens
        if request_id is not None and (outcome := self._over.pop(request_id, None)) is not None:
            self.close(decision.id, outcome)

    def over(self, request_id: str, outcome: Outcome) -> None:
        """Note that a client left before the proxy had learned of a decision.

        It may have been made all the same, or may be about to be: nothing else will tell of its end.
        """
        decision_id = self._by_request.get(request_id)
        if decision_id is not None:
            self.close(decision_id, outcome)
            return
        self._over[request_id] = outcome
        if len(self._over) > _MOST_OVER:
            self._over.popitem(last=False)

    def close(self, decision_id: int, outcome: Outcome) -> bool:
        """Release a reservation and tell the listeners; False if it is not open (any more)."""
        entry = self._open.pop(decision_id, None)
        if entry is None:
            return False
        decision, columns = entry
        request_id = decision.request.head.headers.get(REQUEST_ID)
        if request_id is not None and self._by_request.get(request_id) == decision_id:
            del self._by_request[request_id]
        row = columns.row.get(decision.endpoint.hostport)
        if row is not None and columns.inflight[row] > 0:
            columns.inflight[row] -= 1
            columns.inflight_tokens[row] -= decision.uncached_tokens
        for listener in self._listeners:
            listener(decision, outcome)
        return True

    def recount(self, columns: Columns) -> None:
        """Count again after *columns* adopted another snapshot: an endpoint may have left and come back."""
        columns.inflight[:] = columns.inflight_tokens[:] = 0
        for decision, where in self._open.values():
            if where is columns and (row := columns.row.get(decision.endpoint.hostport)) is not None:
                columns.inflight[row] += 1
                columns.inflight_tokens[row] += decision.uncached_tokens

    def expire(self, now: float) -> int:
        """Close what was decided longer than the deadline ago; return how many."""
        oldest = now - self._deadline_seconds
        late = []
        for decision_id, (decision, _) in self._open.items():
            if decision.decided_at > oldest:
                break
            late.append(decision_id)
        for decision_id in late:
            self.close(decision_id, Outcome(End.UNKNOWN))
        self._expired += len(late)
        return len(late)

    def open_decisions(self) -> Iterator[Decision]:
        """Yield what is open, oldest first."""
        return (decision for decision, _ in self._open.values())

    def statistics(self) -> LedgerStatistics:
        """Return how many reservations are open and how many have expired."""
        return LedgerStatistics(open=len(self._open), expired=self._expired)
