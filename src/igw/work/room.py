"""Is there room for a request, and where? Pure answers for whoever decides whether it must wait at the gateway.

What it would cost is `cost`; where it then goes is `scheduling`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.work.cost import Promised

_MOST_BACKLOG_SECONDS = 0.5
"""More prefill than this waits better at the gateway, where it can still go elsewhere."""
_ALMOST = 0.99
"""How full an endpoint is at most that has room."""


def has_room(promised: Promised, backlog: Column, waiting: Column) -> NDArray[np.bool_]:
    """Return which endpoints could begin with one more request soon. Shape: [candidates].

    Idle ones can; others if the batch has a seat (vLLM `max_num_seqs`, given or found out), their *backlog* is short, in seconds, and they have
    no more requests *waiting*, as scraped, than those whose first token is still to come.
    """
    queued, inflight = promised.column("queued"), promised.column("queued") + promised.column("running")
    seats = promised.column("seats")
    ready = ((inflight < seats) | (seats == 0.0)) & (backlog < _MOST_BACKLOG_SECONDS) & (waiting <= queued)
    room: NDArray[np.bool_] = ready | (inflight == 0)
    return room


def fill(promised: Promised, backlog: Column, waiting: Column) -> Column:
    """Return how full each endpoint is: 1 where there is no room, below it as much as is taken of what is scarcest. Shape: [candidates].

    Of its seats where they are known, of the prefill that it may have before it, of its KV memory.
    """
    inflight = promised.column("queued") + promised.column("running")
    seats, kv = promised.column("seats"), promised.column("kv_tokens")
    capacity = np.maximum(kv + promised.column("free_tokens"), 1.0)
    seated = np.where(seats > 0.0, inflight / np.maximum(seats, 1.0), 0.0)
    taken = np.maximum(np.maximum(seated, backlog / _MOST_BACKLOG_SECONDS), kv / capacity)
    return np.where(has_room(promised, backlog, waiting), np.minimum(taken, _ALMOST), 1.0)


def memory(promised: Promised) -> Column:
    """Return the KV memory in tokens that one more request may need at each endpoint. Shape: [candidates].

    0 where the engine keeps requests waiting for memory or a seat; infinite where nothing is in flight: where else should it ever go.
    """
    inflight = promised.column("queued") + promised.column("running")
    free = np.where(promised.column("turns") == 0.0, np.maximum(promised.column("free_tokens"), 0.0), 0.0)
    free[inflight == 0.0] = np.inf
    return free


def spare(promised: Promised, backlog: Column, waiting: Column) -> Column:
    """Return the same where there is room, and 0 elsewhere: whoever needs more than that everywhere is to be held. Shape: [candidates]."""
    return np.where(has_room(promised, backlog, waiting), memory(promised), 0.0)
