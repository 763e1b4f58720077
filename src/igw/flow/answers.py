"""What a client is told whose request found no place. Putting it on the wire is `extproc`."""

from __future__ import annotations

from igw.errors import ClientLeft, NoEndpoints, QueueFull, Rejected, ShuttingDown, WaitedTooLong
from igw.flow.api import Outcome

_ANSWERS: dict[Outcome, tuple[type[Rejected], str]] = {
    Outcome.REJECTED_CAPACITY: (QueueFull, "the queue is full"),
    Outcome.REJECTED_NO_ENDPOINTS: (NoEndpoints, "no endpoints available: the queue is full"),
    Outcome.EVICTED_NO_ENDPOINTS: (
        NoEndpoints,
        "request timed out in queue and no endpoints are available: none came in time",
    ),
    Outcome.EVICTED_TTL: (WaitedTooLong, "request timed out in queue: no endpoint had room in time"),
    Outcome.EVICTED_CONTEXT_CANCELLED: (ClientLeft, "client disconnected: while the request was queued"),
    Outcome.REJECTED_OTHER: (ShuttingDown, "flow controller shutting down: nothing more is taken"),
    Outcome.EVICTED_OTHER: (ShuttingDown, "flow controller shutting down: nothing is queued any more"),
}
"""Messages begin as upstream's do."""


def answer(outcome: Outcome, retry_after_seconds: int | None = None) -> Rejected:
    """Return what to raise for a request that ended with *outcome*; `KeyError` if it was dispatched."""
    kind, message = _ANSWERS[outcome]
    rejected = kind(message)
    rejected.queue_outcome = outcome.value
    if retry_after_seconds is not None:
        rejected.retry_after_seconds = retry_after_seconds
    return rejected
