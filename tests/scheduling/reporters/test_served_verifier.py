"""`destination-endpoint-served-verifier`: it asks for the header; `extproc` fills it in."""

from __future__ import annotations

from igw.decision import Delivery
from igw.scheduling.reporters.served_verifier import ServedVerifier
from tests.scheduling.candidates import facts, plugin, request


def test_the_answer_is_to_say_who_served_it() -> None:
    """What others want said stays."""
    before = Delivery(answer_headers={"x-session-token": "t"})
    after = plugin(ServedVerifier).deliver(before, request(), facts(1), [0], {})
    assert after.tell_served == "x-conformance-test-served-endpoint"
    assert after.answer_headers == before.answer_headers
