"""What clients are told."""

from __future__ import annotations

import pytest

from igw.errors import DropReason, Rejected
from igw.flow.answers import answer
from igw.flow.api import Outcome


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "begins"),
    [
        (Outcome.REJECTED_CAPACITY, 429, "rejected-saturated", "the queue is full"),
        (Outcome.REJECTED_NO_ENDPOINTS, 503, "rejected-no-endpoints", "no endpoints available: "),
        (
            Outcome.EVICTED_NO_ENDPOINTS,
            503,
            "rejected-no-endpoints",
            "request timed out in queue and no endpoints are available: ",
        ),
        (Outcome.EVICTED_TTL, 429, "rejected-ttl-expired", "request timed out in queue: "),
        (Outcome.EVICTED_CONTEXT_CANCELLED, 503, "rejected-context-cancelled", "client disconnected: "),
        (Outcome.REJECTED_OTHER, 503, "rejected-shutting-down", "flow controller shutting down: "),
        (Outcome.EVICTED_OTHER, 503, "rejected-shutting-down", "flow controller shutting down: "),
    ],
)
def test_outcomes_have_upstreams_codes_reasons_and_messages(
    outcome: Outcome, status: int, reason: str, begins: str
) -> None:
    """429 is for capacity that others have, 503 for none."""
    rejected = answer(outcome)
    assert (rejected.status, rejected.reason) == (status, DropReason(reason))
    assert rejected.message.startswith(begins)


def test_when_to_come_back_is_told_where_it_is_known() -> None:
    """Else the kind of rejection has its own."""
    assert answer(Outcome.REJECTED_CAPACITY, 17).retry_after_seconds == 17
    assert answer(Outcome.REJECTED_CAPACITY).retry_after_seconds == 1


def test_a_status_has_one_code() -> None:
    """Upstream's (its `errcommon`): clients tell errors by it, whoever refused them."""
    codes: dict[int, set[str]] = {}
    for kind in Rejected.__subclasses__():
        codes.setdefault(kind.status, set()).add(kind.code)
    assert codes[429] == {"ResourceExhausted"}
    assert codes[503] == {"ServiceUnavailable"}
