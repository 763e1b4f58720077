"""The ledger: every reservation ends exactly once, and the in-flight column always counts those that are open."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.outcomes.ledger import Ledger, LedgerStatistics
from igw.outcomes.outcome import End, Outcome
from igw.request import Head, Request

ENDPOINTS = tuple(Endpoint.at("127.0.0.1", port) for port in range(1, 6))
COMPLETE = Outcome(End.COMPLETE, 200)


def pool(*rows: int) -> Pool:
    """Return a pool of some of the endpoints."""
    return Pool("p", "default", tuple(ENDPOINTS[row] for row in rows))


def decision(number: int, row: int = 0, at: float = 0.0, model: str = "m") -> Decision:
    """Return a decision for an endpoint."""
    return Decision(number, Request(Head("/", "POST", {}), model=model), (ENDPOINTS[row],), decided_at=at)


def test_a_reservation_counts_until_it_is_closed() -> None:
    """Then its listeners are told, in their order, with what was decided and what became of it."""
    told: list[tuple[str, Decision, Outcome]] = []
    ledger = Ledger(60, [lambda d, o: told.append(("a", d, o)), lambda d, o: told.append(("b", d, o))])
    columns = Columns(pool(0, 1), lambda _: 0)
    first, second = decision(1, 0), decision(2, 1)
    ledger.open(first, columns)
    ledger.open(second, columns)
    ledger.open(decision(3, 1), columns)
    assert columns.inflight.tolist() == [1, 2]
    assert told == []
    assert ledger.close(2, COMPLETE)
    assert columns.inflight.tolist() == [1, 1]
    assert told == [("a", second, COMPLETE), ("b", second, COMPLETE)]


def test_tokens_in_flight_are_those_believed_uncached() -> None:
    """They are given back with the request, and counted again with it."""
    ledger = Ledger(60)
    columns = Columns(pool(0, 1), lambda _: 0)
    request = Request(Head("/", "POST", {}), prompt_bytes=4000)
    ledger.open(Decision(1, request, (ENDPOINTS[0],), matched_tokens=600), columns)
    ledger.open(Decision(2, request, (ENDPOINTS[0],), matched_tokens=1024), columns)
    ledger.open(Decision(3, request, (ENDPOINTS[1],)), columns)
    assert columns.inflight_tokens.tolist() == [400, 1000]
    columns.adopt(pool(1, 0))
    ledger.recount(columns)
    assert columns.inflight_tokens.tolist() == [1000, 400]
    ledger.close(3, COMPLETE)
    ledger.close(2, COMPLETE)
    assert columns.inflight_tokens.tolist() == [0, 400]


def test_a_second_end_is_no_end() -> None:
    """The access log may repeat itself, and both modes may tell: the first counts."""
    told: list[Outcome] = []
    ledger = Ledger(60, [lambda _, outcome: told.append(outcome)])
    columns = Columns(pool(0), lambda _: 0)
    ledger.open(decision(1), columns)
    ledger.open(decision(2), columns)
    assert ledger.close(1, COMPLETE)
    assert not ledger.close(1, Outcome(End.FAILED))
    assert not ledger.close(99, COMPLETE)
    assert told == [COMPLETE]
    assert columns.inflight.tolist() == [1]


def test_what_is_late_ends_by_deadline() -> None:
    """Oldest first, with an outcome that says that nobody knows."""
    told: list[tuple[int, End]] = []
    ledger = Ledger(10, [lambda d, o: told.append((d.id, o.end))])
    columns = Columns(pool(0), lambda _: 0)
    for number, at in ((1, 0.0), (2, 1.0), (3, 8.0)):
        ledger.open(decision(number, at=at), columns)
    assert ledger.expire(now=9.9) == 0
    assert ledger.expire(now=11.5) == 2
    assert told == [(1, End.UNKNOWN), (2, End.UNKNOWN)]
    assert columns.inflight.tolist() == [1]
    assert ledger.statistics() == LedgerStatistics(open=1, expired=2)
    assert not ledger.close(1, COMPLETE)
    assert ledger.expire(now=100) == 1
    assert ledger.statistics() == LedgerStatistics(open=0, expired=3)


def test_an_end_after_the_endpoint_left_touches_no_other() -> None:
    """Rows move when a pool changes; the endpoint's own row is meant."""
    ledger = Ledger(60)
    columns = Columns(pool(0, 1), lambda _: 0)
    ledger.open(decision(1, 0), columns)
    ledger.open(decision(2, 1), columns)
    columns.adopt(pool(1))
    assert ledger.close(1, COMPLETE)
    assert columns.inflight.tolist() == [1]
    assert ledger.close(2, COMPLETE)
    assert columns.inflight.tolist() == [0]


def test_an_endpoint_that_comes_back_has_what_is_still_open() -> None:
    """A recount after the snapshot finds it; other pools are not touched."""
    ledger = Ledger(60)
    columns, other = Columns(pool(0, 1), lambda _: 0), Columns(pool(0), lambda _: 0)
    ledger.open(decision(1, 0), columns)
    ledger.open(decision(2, 0), columns)
    ledger.open(decision(3, 0), other)
    for snapshot in (pool(1), pool(2, 0)):
        columns.adopt(snapshot)
        ledger.recount(columns)
    assert columns.inflight.tolist() == [0, 2]
    assert other.inflight.tolist() == [1]


def test_open_decisions_can_be_listed() -> None:
    """Oldest first, those of all pools."""
    ledger = Ledger(60)
    columns = Columns(pool(0), lambda _: 0)
    for number, model in enumerate("abc"):
        ledger.open(decision(number, model=model), columns)
    ledger.close(1, COMPLETE)
    assert [decision.request.model for decision in ledger.open_decisions()] == ["a", "c"]


class Laws(RuleBasedStateMachine):
    """Opens, ends, deadlines and snapshots in any order, beside a plain list of what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[int] = []
        self.ledger = Ledger(10, [lambda d, _: self.ended.append(d.id)])
        self.columns = Columns(pool(0, 1, 2), lambda _: 0)
        self.open: dict[int, tuple[Endpoint, float]] = {}
        self.opened = 0
        self.now = 0.0

    @precondition(lambda self: len(self.columns.pool) > 0)
    @rule(data=st.data())
    def pick(self, data: st.DataObject) -> None:
        """Reserve on any endpoint of the pool."""
        endpoint = data.draw(st.sampled_from(self.columns.pool.endpoints))
        self.opened += 1
        self.ledger.open(decision(self.opened, ENDPOINTS.index(endpoint), self.now), self.columns)
        self.open[self.opened] = (endpoint, self.now)

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), end=st.sampled_from(End))
    def end(self, data: st.DataObject, end: End) -> None:
        """Tell the end of any request, perhaps again."""
        number = data.draw(st.integers(1, self.opened))
        assert self.ledger.close(number, Outcome(end)) == (number in self.open)
        self.open.pop(number, None)

    @rule(seconds=st.floats(0, 8))
    def wait(self, seconds: float) -> None:
        """Let time pass, and end what is late."""
        self.now += seconds
        late = [number for number, (_, at) in self.open.items() if at <= self.now - 10]
        assert self.ledger.expire(self.now) == len(late)
        for number in late:
            del self.open[number]

    @rule(rows=st.lists(st.integers(0, 4), unique=True))
    def change(self, rows: list[int]) -> None:
        """Take another snapshot."""
        self.columns.adopt(pool(*rows))
        self.ledger.recount(self.columns)

    @invariant()
    def the_column_counts_what_is_open(self) -> None:
        """In flight is what was opened and has not ended."""
        for endpoint, row in (
            (endpoint, self.columns.row[endpoint.hostport]) for endpoint in self.columns.pool.endpoints
        ):
            assert self.columns.inflight[row] == sum(where is endpoint for where, _ in self.open.values())
        assert self.ledger.statistics().open == len(self.open)

    @invariant()
    def everything_ends_once(self) -> None:
        """What was opened is open or has ended, never both, never twice."""
        assert len(self.ended) == len(set(self.ended))
        assert set(self.ended) | set(self.open) == set(range(1, self.opened + 1))
        assert not set(self.ended) & set(self.open)


Laws.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLaws = Laws.TestCase
