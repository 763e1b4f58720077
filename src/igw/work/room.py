"""Is there room for a request, and where? Two pure answers for whoever decides whether it must wait at the gateway.

What it would cost is `cost`; where it then goes is `scheduling`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.work.cost import Price, Promised

MEMORY_TERM = "memory"
"""Of a price: above 0 where KV memory is short for the request."""
_MOST_BACKLOG_SECONDS = 0.5
"""More prefill than this waits better at the gateway, where it can still go elsewhere."""


def has_room(
    promised: Promised, backlog: Column, waiting: Column, most_sequences: float = np.inf
) -> NDArray[np.bool_]:
    """Return which endpoints could begin with one more request soon. Shape: [candidates].

    Idle ones can; others if the batch has a seat (vLLM `max_num_seqs`, given or found out), their *backlog* is short, in seconds, and they have no more requests
    *waiting*, as scraped, than those whose first token is still to come.
    """
    queued, inflight = promised.column("queued"), promised.column("queued") + promised.column("running")
    seats = promised.column("seats")
    seated = (inflight < most_sequences) & ((inflight < seats) | (seats == 0.0))
    ready = seated & (backlog < _MOST_BACKLOG_SECONDS) & (waiting <= queued)
    room: NDArray[np.bool_] = ready | (inflight == 0)
    return room


def fits(promised: Promised, cost: Price) -> NDArray[np.bool_]:
    """Return which endpoints have the KV memory for this request now: idle ones always. Shape: [candidates]."""
    inflight = promised.column("queued") + promised.column("running")
    enough: NDArray[np.bool_] = (cost.terms[MEMORY_TERM] == 0.0) | (inflight == 0)
    return enough


def places(
    promised: Promised, cost: Price, waiting: Column, most_sequences: float = np.inf
) -> NDArray[np.bool_]:
    """Return where there is room for the request that *cost* is the price of; nowhere means that it should be held. Shape: [candidates].

    If there is room anywhere, it goes to whom it costs least of all: a busy endpoint that has its prompt cached may win.
    """
    return has_room(promised, cost.terms["backlog"], waiting, most_sequences) & fits(promised, cost)
