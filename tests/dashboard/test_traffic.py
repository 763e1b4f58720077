"""What ended lately: rates, quantiles, columns by the second, and that it forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from igw.dashboard.overview import Quantiles
from igw.dashboard.traffic import KEPT_SECONDS, Recent, quantiles
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Head, Request

HEAD = Head("/", "POST", {})
STREAM, WHOLE = (
    Decision(1, Request(HEAD, model="m", stream=each), (Endpoint.at("10.0.0.1", 8000),))
    for each in (True, False)
)
USAGE = Usage(prompt_tokens=100, completion_tokens=11, cached_tokens=25)
GOOD = Outcome(End.COMPLETE, 200, ttft_seconds=0.5, duration_seconds=1.5, usage=USAGE)


class Lately:
    """Counts on a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.recent = Recent(lambda: self.now)


def test_an_end_counts_when_its_second_is_over() -> None:
    """Rates are of ten seconds, quantiles of a minute."""
    lately = Lately()
    for _ in range(5):
        lately.recent.ended(STREAM, GOOD)
    assert lately.recent.traffic().ended_per_second == 0.0
    lately.now += 1
    seen = lately.recent.traffic()
    assert (seen.ended_per_second, seen.prompt_tokens_per_second, seen.completion_tokens_per_second) == (
        0.5,
        50.0,
        5.5,
    )
    assert seen.cached_share == 0.25
    assert (seen.ttft.p50, seen.e2e.p99) == (0.5, 1.5)
    assert seen.tpot.p50 == 0.1
    assert seen.seconds.ended[-1] == 5
    assert seen.seconds.ttft_p95_seconds[-2:] == [None, 0.5]
    lately.now += 15
    seen = lately.recent.traffic()
    assert (seen.ended_per_second, seen.ttft.p50) == (0.0, 0.5)
    lately.now += 60
    assert lately.recent.traffic().ttft == Quantiles()


def test_an_answer_in_one_piece_has_no_time_to_first_token() -> None:
    """Its first byte is its last."""
    lately = Lately()
    lately.recent.ended(WHOLE, GOOD)
    lately.now += 1
    seen = lately.recent.traffic()
    assert (seen.ttft, seen.tpot) == (Quantiles(), Quantiles())
    assert seen.e2e.p50 == 1.5


def test_failures_and_refusals_are_counted_and_their_times_are_not() -> None:
    """An error that comes fast must not look like a fast answer."""
    lately = Lately()
    lately.recent.ended(STREAM, Outcome(End.COMPLETE, 500, ttft_seconds=0.001, duration_seconds=0.001))
    lately.recent.ended(STREAM, Outcome(End.FAILED))
    lately.recent.ended(STREAM, Outcome(End.ABORTED, 200))
    lately.recent.refused()
    lately.now += 1
    seen = lately.recent.traffic()
    assert (seen.ended_per_second, seen.failed_per_second, seen.refused_per_second) == (0.3, 0.2, 0.1)
    assert (seen.e2e, seen.ttft, seen.cached_share) == (Quantiles(), Quantiles(), None)
    assert lately.recent.changes == 4


def test_what_is_kept_is_bounded() -> None:
    """In seconds, and in times of one second."""
    lately = Lately()
    for _ in range(10 * KEPT_SECONDS):
        lately.now += 1
        for _ in range(3):
            lately.recent.ended(STREAM, GOOD)
    assert len(lately.recent._seconds) <= KEPT_SECONDS + 1
    for _ in range(5000):
        lately.recent.ended(STREAM, GOOD)
    last = lately.recent._seconds[int(lately.now)]
    assert (last.ended, len(last.e2e), len(last.ttft), len(last.tpot)) == (5003, 256, 256, 256)


@given(st.lists(st.floats(0.0, 1e3), min_size=1))
def test_quantiles_are_times_that_were_and_in_order(times: list[float]) -> None:
    """Law."""
    found = quantiles(times)
    assert {found.p50, found.p95, found.p99} <= set(times)
    assert min(times) <= found.p50 <= found.p95 <= found.p99 <= max(times)


@given(st.lists(st.floats(0.0, 30.0), max_size=200))
def test_every_end_is_in_one_second(gaps: list[float]) -> None:
    """Law: columns have two minutes, and nothing is counted twice."""
    lately, at = Lately(), []
    for gap in gaps:
        lately.now += gap
        at.append(int(lately.now))
        lately.recent.ended(STREAM, GOOD)
    lately.now = float(int(lately.now) + 1)
    seconds = lately.recent.traffic().seconds
    assert len(seconds.ended) == KEPT_SECONDS
    assert sum(seconds.ended) == sum(each >= int(lately.now) - KEPT_SECONDS for each in at)
