"""Where time went: stages add up to what was seen, and nothing is made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.outcomes.outcome import End, Outcome
from igw.outcomes.stages import STAGES, before_first_byte, whole
from igw.request import Head, Request

TIMES = st.floats(0, 100)
MAYBE = st.none() | TIMES


def decision(*, stream: bool = True, waited: float = 0.0, expected: float = 0.0) -> Decision:
    """Return a decision on a request that waited so long."""
    request = Request(Head("/", "POST", {}), model="m", stream=stream)
    return Decision(
        1,
        request,
        (Endpoint.at("10.0.0.1", 8000),),
        waited_seconds=waited,
        expected_ttft_seconds=expected,
    )


@given(st.booleans(), st.tuples(TIMES, TIMES, TIMES, TIMES), st.tuples(MAYBE, MAYBE, MAYBE))
def test_stages_add_up_to_what_was_seen(
    stream: bool,
    believed: tuple[float, float, float, float],
    seen: tuple[float | None, float | None, float | None],
) -> None:
    """Whatever clocks say: none below 0, in all as long as it took."""
    waited, expected, up, down = believed
    ttft, duration, served = seen
    if ttft is not None and duration is not None:
        duration += ttft
    made = decision(stream=stream, waited=waited, expected=expected)
    outcome = Outcome(
        End.COMPLETE, 200, ttft_seconds=ttft, duration_seconds=duration,
        served_ttft_seconds=served, upload_seconds=up, download_seconds=down,
    )  # fmt: skip
    for found, seconds in ((before_first_byte(made, outcome), ttft), (whole(made, outcome), duration)):
        assert set(found) <= set(STAGES)
        assert all(value >= 0 for value in found.values())
        assert sum(found.values()) == pytest.approx(seconds or 0.0, abs=1e-9)


def test_a_stream_through_our_gateway_is_known_in_all_its_stages() -> None:
    """0.2 s of upload, 1 s in the queue, 0.4 s at the server to the first byte, 2 s of output, 0.5 s to a slow client."""
    outcome = Outcome(
        End.COMPLETE, 200, ttft_seconds=1.7, duration_seconds=4.2,
        served_ttft_seconds=0.4, upload_seconds=0.2, download_seconds=0.5,
    )  # fmt: skip
    made = decision(waited=1.0)
    first = before_first_byte(made, outcome)
    assert first == pytest.approx({"queue": 1.0, "network": 0.2, "prefill": 0.4, "routing": 0.1})
    assert whole(made, outcome) == pytest.approx({**first, "network": 0.7, "decode": 2.0})


def test_an_answer_in_one_piece_is_split_by_what_was_expected_or_not_at_all() -> None:
    """Its first byte is its last; the learned model says what prefill should have taken."""
    outcome = Outcome(End.COMPLETE, 200, ttft_seconds=3.0, duration_seconds=3.0, served_ttft_seconds=2.9)
    assert whole(decision(stream=False, expected=0.5), outcome)["prefill"] == 0.5
    assert whole(decision(stream=False, expected=0.5), outcome)["decode"] == pytest.approx(2.4)
    assert whole(decision(stream=False), outcome)["server"] == pytest.approx(2.9)
    assert "prefill" not in whole(decision(stream=False), outcome)


def test_what_nobody_saw_is_called_so() -> None:
    """Who served and when is not told by every gateway."""
    outcome = Outcome(End.COMPLETE, 200, ttft_seconds=1.0, duration_seconds=2.0)
    assert before_first_byte(decision(waited=0.25), outcome)["unknown"] == 0.75
    assert whole(decision(), Outcome(End.COMPLETE, 200, duration_seconds=2.0)) == {"unknown": 2.0}
