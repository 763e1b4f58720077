"""Passive health: who is ejected for what, for how long, how it returns, and when nobody is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.columns import RETURN_SECONDS, Columns
from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint, Pool
from igw.outcomes.health import Ejection, Failure, Health, HealthSettings, failure
from igw.outcomes.outcome import End, Outcome
from igw.request import Head, Request

OK = Outcome(End.COMPLETE, 200)
RESET = Outcome(End.FAILED, 503)
BROKEN = Outcome(End.COMPLETE, 500)
REFUSED = Outcome(End.FAILED, 503, unreachable=True)


class Watching:
    """Health of a pool of endpoints 0, 1, 2 ..., and a clock that is a number."""

    def __init__(self, size: int = 4, settings: HealthSettings | None = None) -> None:
        self.endpoints = tuple(Endpoint.at(f"10.0.0.{number}", 8000) for number in range(size))
        self.columns = Columns(Pool("p", "default", self.endpoints), lambda _hostport: 0)
        self.ejections: list[Ejection] = []
        self.now = 1000.0
        self.health = Health(
            lambda key: self.columns if key == "default/p" else None,
            lambda: self.now,
            self.ejections.append,
            settings,
        )

    def end(
        self, row: int, *outcomes: Outcome, decided_at: float | None = None, pool: str = "default/p"
    ) -> None:
        """Let requests that were sent to endpoint *row* end, just after they were sent if not told otherwise."""
        for outcome in outcomes:
            at = self.now if decided_at is None else decided_at
            request = Request(Head("/", "POST", {}, pool=pool))
            self.health(Decision(1, request, (self.endpoints[row],), decided_at=at), outcome)

    def shares(self) -> list[float]:
        """Return the share of requests that each endpoint is a candidate for now."""
        return [round(float(share), 3) for share in self.columns.shares(self.now)]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (REFUSED, Failure.CONNECT),
        (RESET, Failure.RESET),
        (Outcome(End.FAILED), Failure.RESET),
        (BROKEN, Failure.STATUS),
        (Outcome(End.COMPLETE, 503), Failure.STATUS),
        (Outcome(End.FAILED, 504), Failure.TIMEOUT),
        (Outcome(End.COMPLETE, 504), Failure.TIMEOUT),
    ],
)
def test_five_failures_in_a_row_eject_an_endpoint(outcome: Outcome, reason: Failure) -> None:
    """For half a minute; four are forgiven, a success in between starts the count anew."""
    watching = Watching()
    watching.end(1, *[outcome] * 4, OK, *[outcome] * 4)
    assert not watching.ejections
    watching.end(1, outcome)
    (ejection,) = watching.ejections
    assert (ejection.pool, ejection.hostport, ejection.reason) == ("default/p", "10.0.0.1:8000", reason)
    assert (ejection.failures_in_a_row, ejection.failed_share, ejection.seconds) == (5, 0.9, 30)
    assert watching.shares() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    "outcome",
    [
        OK,
        Outcome(End.COMPLETE, 400),
        Outcome(End.COMPLETE, 429),
        Outcome(End.ABORTED, 200),
        Outcome(End.UNKNOWN),
    ],
)
def test_what_is_not_the_endpoints_fault_ejects_nobody(outcome: Outcome) -> None:
    """It answered, be it with a refusal; or its client left; or nobody told."""
    watching = Watching()
    watching.end(0, *[outcome] * 100)
    assert not watching.ejections
    assert failure(OK) is None


def test_a_client_that_leaves_is_neither_failure_nor_success() -> None:
    """Clients lose patience with an endpoint that hangs: that must not clear its record."""
    watching = Watching()
    watching.end(0, *[RESET] * 4, Outcome(End.ABORTED), RESET)
    assert len(watching.ejections) == 1


def test_a_share_of_failures_far_above_that_of_the_others_ejects_too() -> None:
    """Every other request fails, never two in a row: after 20 requests that is enough."""
    watching = Watching()
    for _ in range(9):
        watching.end(0, OK, BROKEN)
        watching.end(1, OK, OK)
    assert not watching.ejections
    watching.end(0, OK, BROKEN)
    (ejection,) = watching.ejections
    assert (ejection.failures_in_a_row, ejection.failed_share) == (1, 0.5)


def test_when_all_fail_alike_nobody_is_ejected_for_it() -> None:
    """Clients send what no engine can answer: it is not for the endpoint's sake."""
    watching = Watching()
    for _ in range(50):
        for row in range(4):
            watching.end(row, OK, BROKEN)
    assert not watching.ejections


def test_what_was_long_ago_counts_little() -> None:
    """Three windows later, a twentieth: nineteen failures and successes are not twenty requests any more."""
    watching = Watching()
    for _ in range(9):
        watching.end(0, BROKEN, OK)
    watching.now += 90
    watching.end(0, BROKEN, OK, BROKEN)
    assert not watching.ejections


@pytest.mark.parametrize(("size", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)])
def test_at_most_half_of_a_pool_is_ejected(size: int, most: int) -> None:
    """Never the only endpoint; who fails beyond that stays a candidate."""
    watching = Watching(size, HealthSettings(share_above_others=0.0))
    for row in range(size):
        watching.end(row, *[RESET] * 10)
    assert len(watching.ejections) == most
    assert watching.shares().count(0) == most


def test_an_endpoint_returns_gradually() -> None:
    """A tenth of the requests first, all of them half a minute later; then nothing has to be looked at any more."""
    watching = Watching()
    watching.end(1, *[RESET] * 5)
    seen = []
    for seconds in (0, 29.9, 0.1, 15, 15):
        watching.now += seconds
        seen.append(watching.shares()[1])
    assert seen == [0, 0, 0.1, 0.5, 1]
    assert watching.columns.any_ejected
    watching.end(0, OK)
    assert not watching.columns.any_ejected


def test_who_fails_again_while_it_returns_is_away_twice_as_long() -> None:
    """Two failures are enough then; up to five minutes; and after five good minutes it is half a minute again."""
    watching = Watching()
    watching.end(1, *[RESET] * 5)
    for seconds in (60, 120, 240, 300, 300):
        watching.now = float(watching.columns.back_at[1]) + 1
        watching.end(1, RESET)
        assert watching.shares()[1] > 0
        watching.end(1, RESET)
        assert watching.ejections[-1].seconds == seconds
    watching.now = float(watching.columns.back_at[1]) + 301
    watching.end(1, *[RESET] * 4)
    assert watching.shares()[1] == 1
    watching.end(1, RESET)
    assert watching.ejections[-1].seconds == 30


def test_what_was_sent_before_the_ejection_says_nothing_of_the_return() -> None:
    """Requests that hung at the time end in timeouts long after it is well again."""
    watching = Watching()
    sent = watching.now
    watching.end(1, *[RESET] * 5)
    watching.now += 35
    watching.end(1, *[RESET] * 10, decided_at=sent)
    assert len(watching.ejections) == 1


def test_a_retry_counts_for_who_refused_and_for_who_served() -> None:
    """The first could not be reached, the other answered, or did not."""
    watching = Watching()
    elsewhere = Outcome(End.COMPLETE, 200, served_by="10.0.0.2:8000")
    watching.end(1, *[elsewhere] * 5)
    assert [ejection.hostport for ejection in watching.ejections] == ["10.0.0.1:8000"]
    watching = Watching()
    watching.end(0, *[OK] * 10)
    watching.end(1, *[Outcome(End.FAILED, 503, "10.0.0.2:8000", unreachable=True)] * 5)
    assert [ejection.hostport for ejection in watching.ejections] == ["10.0.0.1:8000", "10.0.0.2:8000"]


def test_a_rank_that_is_reached_through_another_port_is_judged_itself() -> None:
    """The gateway names the address it was told, which is not another server."""
    watching = Watching()
    request = Request(Head("/", "POST", {}, pool="default/p"))
    delivery = Delivery(address="10.0.0.1:9000")
    decision = Decision(1, request, (watching.endpoints[1],), delivery=delivery, decided_at=watching.now)
    for _ in range(5):
        watching.health(decision, Outcome(End.COMPLETE, 200, served_by="10.0.0.1:9000"))
    assert not watching.ejections
    for _ in range(5):
        watching.health(decision, Outcome(End.COMPLETE, 500, served_by="10.0.0.1:9000"))
    assert watching.shares() == [1, 0, 1, 1]


def test_who_is_not_there_is_not_judged() -> None:
    """An endpoint that left, a server that nobody knows, a pool that is gone."""
    watching = Watching()
    watching.end(0, *[Outcome(End.FAILED, 503, "10.9.9.9:1")] * 4, pool="default/other")
    watching.columns.adopt(Pool("p", "default", watching.endpoints[1:]))
    watching.end(0, *[RESET] * 9)
    assert not watching.ejections
    assert not watching.columns.any_ejected


def test_an_endpoint_that_left_takes_its_record_with_it() -> None:
    """Nothing grows with endpoints that come and go."""
    watching = Watching(2)
    for row in (0, 1):
        watching.end(row, OK)
    for number in range(20):
        fresh = Endpoint.at(f"10.1.0.{number}", 8000)
        watching.endpoints = (watching.endpoints[0], fresh)
        watching.columns.adopt(Pool("p", "default", watching.endpoints))
        watching.end(1, OK)
    assert len(watching.health._pools["default/p"].records) <= 3


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([OK, RESET, BROKEN, REFUSED]), st.floats(0, 40)),
        max_size=200,
    )
)
def test_some_always_serve_whatever_happens(steps: list[tuple[int, Outcome, float]]) -> None:
    """Law: at least half of the pool, every share in [0, 1], and no ejection is shorter or longer than said."""
    watching = Watching(5)
    for row, outcome, seconds in steps:
        watching.now += seconds
        watching.end(row, outcome)
        shares = watching.columns.shares(watching.now)
        assert ((shares >= 0) & (shares <= 1)).all()
        assert (shares > 0).sum() >= 3
        if not watching.columns.any_ejected:
            assert (watching.columns.back_at + RETURN_SECONDS <= watching.now).all()
    assert all(30 <= ejection.seconds <= 300 for ejection in watching.ejections)
    assert np.isfinite([ejection.failed_share for ejection in watching.ejections]).all()
