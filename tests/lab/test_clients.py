"""Sessions: order, think times, children, retries."""

from __future__ import annotations

import msgspec
import pytest

from igw.lab.clients import RETRY_SECONDS
from igw.lab.records import Fate
from igw.lab.scenario import Lose
from igw.lab.workload import Session
from tests.lab.small import spec, turn, workload, world


def test_a_turn_waits_for_the_answer_before_it_and_thinks() -> None:
    """The first think time counts from the session's start."""
    thinks = (0.25, 3.0, 0.0)
    session = Session("s", tuple(turn(500, 20, think=think) for think in thinks), 1.0)
    running = world(workload(session), spec())
    assert running.run()
    records = running.records()
    ends = [1.0] + [record.arrived + record.e2e_seconds for record in records]
    for record, end, think in zip(records, ends, thinks, strict=False):
        assert record.arrived == pytest.approx(end + think)
    assert len(records) == running.clients.turns_over == 3


def test_children_start_when_their_turn_is_sent() -> None:
    """They run beside their parent, which does not wait for them."""
    child = Session("child", (turn(500, 2000),), 0.5)
    parent = Session(
        "parent", (msgspec.structs.replace(turn(500, 10, think=1.0), spawns=(child,)), turn(500, 10)), 1.0
    )
    running = world(workload(parent), spec())
    assert running.run()
    arrived = [(record.session, record.arrived) for record in running.records()]
    assert arrived[:2] == [("parent", 2.0), ("parent", pytest.approx(2.0, abs=0.5))]
    assert arrived[2] == ("child", 2.5)
    assert len(running.records()) == running.clients.turns_over == 3


def test_sessions_that_are_not_in_order_start_in_order() -> None:
    """Whoever made the workload."""
    sessions = (
        Session("b", (turn(500, 10),), 2.0),
        Session("a", (turn(500, 10),), 1.0),
        Session("none", (), 0.5),
    )
    running = world(workload(*sessions), spec())
    assert running.run()
    assert [record.session for record in running.records()] == ["a", "b"]


def test_a_lost_turn_is_repeated_a_second_later_and_then_given_up() -> None:
    """Every attempt is a request of its own; the session's other turns are not sent."""
    session = Session("s", (turn(500, 10), turn(500, 10)), 1.0)
    running = world(workload(session), spec(), events=(Lose(0, 0.5),), retries=2)
    assert running.run()
    records = running.records()
    assert [record.fate for record in records] == [Fate.LOST] * 3
    assert [record.arrived for record in records] == [1.0, 1.0 + RETRY_SECONDS, 1.0 + 2 * RETRY_SECONDS]
    assert running.clients.turns_over == 2
    assert running.clients.going == 0
