"""What the proxy does with a pick, and what pickers are told of the end."""

from __future__ import annotations

import pytest

from igw.facts import Facts
from igw.lab.gateway import REPORT_SECONDS, spread
from igw.lab.records import Fate
from igw.lab.scenario import Lose
from igw.outcomes.outcome import End
from igw.parsing.usage import Usage
from tests.lab.small import Kept, Recording, singles, spec, world


class Both(Recording):
    """Names the first two candidates: the second is where the proxy retries."""

    def order(self, facts: Facts) -> list[int]:
        return list(range(min(2, len(facts.inflight))))


class First(Recording):
    """Names one candidate only."""

    def order(self, facts: Facts) -> list[int]:
        return [0]


def test_an_outcome_says_what_the_access_log_says() -> None:
    """Status, first token, duration in whole microseconds, and the usage as the server counted it."""
    kept = Kept()
    running = world(singles((0.5, 1000, 50)), spec(), kept)
    assert running.run()
    (record,) = running.records()
    (_, decided, _), (what, decision, outcome) = kept.built[0].told
    assert what == "ended"
    assert decision.id == decided.id
    assert outcome is not None
    assert (outcome.end, outcome.status, outcome.served_by) == (End.COMPLETE, 200, "10.0.0.1:8000")
    assert outcome.usage == Usage(1000, 50, 0)
    assert outcome.ttft_seconds == pytest.approx(record.ttft_seconds, abs=1e-6)
    assert outcome.duration_seconds == pytest.approx(record.e2e_seconds, abs=1e-6)
    assert outcome.duration_seconds is not None
    assert round(outcome.duration_seconds * 1e6) == pytest.approx(outcome.duration_seconds * 1e6, abs=1e-3)
    assert record.fate is Fate.COMPLETE
    assert (record.arrived, record.server) == (0.5, 0)


def test_in_lean_mode_the_end_is_known_a_little_later() -> None:
    """The proxy gathers log records; until then the reservation stands."""
    running = world(singles((0.5, 1000, 5)), spec())
    inflight = running.pickers[0].columns.inflight
    while not running.gateway.records:
        assert running.clock.advance(10.0)
    ended_at = running.clock.now
    assert inflight[0] == 1
    while inflight[0]:
        assert running.clock.advance(10.0)
    assert running.clock.now == ended_at + REPORT_SECONDS


def test_in_full_mode_a_policy_learns_of_the_first_token_and_at_once_of_the_end() -> None:
    """It sees the answer pass."""
    kept = Kept()
    running = world(singles((0.5, 1000, 5)), spec(), kept, signals="full")
    assert running.run()
    assert [what for what, _, _ in kept.built[0].told] == ["decided", "first_token", "ended"]
    (record,) = running.records()
    assert running.clock.now == record.arrived + record.e2e_seconds


def test_a_lost_answer_is_a_failed_outcome() -> None:
    """After its first token the client has its status already."""
    kept = Kept(First)
    running = world(singles((0.5, 1000, 5000)), spec(2), kept, events=(Lose(0, 3.0),), retries=0)
    assert running.run()
    (record,) = running.records()
    _, _, outcome = kept.built[0].told[-1]
    assert outcome is not None
    assert (outcome.end, outcome.status, outcome.unreachable) == (End.FAILED, 200, False)
    assert (record.fate, record.server, record.output_tokens) == (Fate.LOST, 0, 0)
    assert record.e2e_seconds == 2.5


def test_who_cannot_be_reached_is_passed_over_for_the_next_one() -> None:
    """As Envoy does, and the picker learns from who served that the first one refuses."""
    kept = Kept(Both)
    running = world(singles((1.0, 1000, 5)), spec(3), kept, events=(Lose(0, 0.9),))
    assert running.run()
    (record,) = running.records()
    assert (record.fate, record.server) == (Fate.COMPLETE, 1)
    assert running.pickers[0].columns.failing.tolist() == [True, False, False]
    _, decision, outcome = kept.built[0].told[-1]
    assert outcome is not None
    assert outcome.served_by == "10.0.0.2:8000"
    blocks = running.pickers[0].prefix.match(decision.blocks)
    assert blocks.tolist() == [0, len(decision.blocks), 0]


def test_with_nobody_else_picked_the_request_is_lost_and_the_endpoint_failing() -> None:
    """The next attempt goes elsewhere."""
    kept = Kept(First)
    running = world(singles((1.0, 1000, 5)), spec(2), kept, events=(Lose(0, 0.9),))
    assert running.run()
    first, second = running.records()
    assert (first.fate, second.fate) == (Fate.LOST, Fate.COMPLETE)
    assert (first.server, second.server) == (0, 1)
    assert second.arrived == pytest.approx(2.0)
    outcome = next(outcome for what, _, outcome in kept.built[0].told if what == "ended")
    assert outcome is not None
    assert (outcome.end, outcome.status, outcome.unreachable) == (End.FAILED, 503, True)


def test_what_a_server_refuses_is_rejected_and_not_asked_again() -> None:
    """A 400 would be a 400 again."""
    kept = Kept()
    running = world(singles((1.0, 1000, 5)), spec(max_model_len=512), kept)
    assert running.run()
    (record,) = running.records()
    assert (record.fate, record.server) == (Fate.REJECTED, 0)
    _, _, outcome = kept.built[0].told[-1]
    assert outcome is not None
    assert (outcome.end, outcome.status) == (End.COMPLETE, 400)


def test_what_is_still_open_when_the_run_is_cut_off_is_unfinished() -> None:
    """It is counted, with the time it took so far."""
    running = world(singles((1.0, 1000, 5000)), spec(), limit_seconds=3.0)
    assert running.run()
    (record,) = running.records()
    assert record.fate is Fate.UNFINISHED
    assert record.ttft_seconds > 0
    assert 1.9 < record.e2e_seconds <= 2.0


def test_requests_are_spread_over_pickers_by_turns_or_at_random() -> None:
    """At random by seed."""
    turns = spread("turns", 3, 1)
    assert [turns(n) for n in range(6)] == [0, 1, 2, 0, 1, 2]
    dice, again = spread("random", 3, 1), spread("random", 3, 1)
    drawn = [dice(n) for n in range(300)]
    assert drawn == [again(n) for n in range(300)]
    assert min(drawn.count(n) for n in range(3)) > 70
