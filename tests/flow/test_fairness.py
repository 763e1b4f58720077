"""Whose turn it is, policy by policy. Bounds for backlogged flows are in `test_laws`."""

from __future__ import annotations

import pytest

from igw.flow.api import Item
from igw.flow.fairness.program_aware import ProgramAware
from igw.flow.fairness.round_robin import RoundRobin
from igw.flow.fairness.virtual_token_counter import VirtualTokenCounter
from igw.flow.flows import Flow, Held
from igw.flow.rounds import Rounds
from tests.flow.scenes import Claim, Pool


def head(arrived_at: float = 0.0) -> Held:
    """Return a request that waits since then."""
    item = Item(1, "x")
    return Held(item, Claim(Pool(), item), 1, arrived_at)


def test_a_flow_that_asked_for_nothing_saves_nothing_up() -> None:
    """VTC's lift: it begins where the others are."""
    turns = VirtualTokenCounter().turns()
    busy, late = Flow("busy"), Flow("late")
    turns.joined(busy, 0.0)
    for _ in range(10):
        turns.dispatched(busy, 100.0, 0.0)
    turns.joined(late, 1.0)
    assert turns.key(late, head(), 1.0) == (900.0,)
    turns.dispatched(late, 100.0, 1.0)
    assert turns.key(late, head(), 1.0) == turns.key(busy, head(), 1.0)


def test_work_costs_what_had_to_be_computed() -> None:
    """What was cached is free, and output weighs twice."""
    assert VirtualTokenCounter().turns().cost(1000, 100, 50) == 200
    assert ProgramAware().turns().cost(1000, 100, 50) == 1100


def test_whoever_overdraws_sits_out_rounds() -> None:
    """As many as pay the debt; a pay-back shortens it, and never becomes credit."""
    rounds = Rounds(100.0, 2.0)
    flow = Flow("x")
    rounds.joined(flow, 0.0)
    rounds.dispatched(flow, 350.0, 0.0)
    assert (flow.round, flow.deficit) == (3, 50.0)
    rounds.corrected(flow, -250.0, 0.0)
    assert (flow.round, flow.deficit) == (1, 100.0)
    rounds.corrected(flow, -1000.0, 0.0)
    assert (flow.round, flow.deficit) == (0, 100.0)


def test_debts_outlive_a_pause_and_credit_does_not() -> None:
    """Whoever empties its queue and comes back has one quantum at most."""
    rounds = Rounds(100.0, 2.0)
    debtor, saver, other = Flow("debtor"), Flow("saver"), Flow("other")
    for flow in (debtor, saver, other):
        rounds.joined(flow, 0.0)
    rounds.dispatched(debtor, 1000.0, 0.0)
    for _ in range(3):
        rounds.dispatched(other, 100.0, 0.0)
    rounds.joined(debtor, 1.0)
    rounds.joined(saver, 1.0)
    assert debtor.round == 10
    assert (saver.round, saver.deficit) == (2, 100.0)


def test_a_new_flow_comes_after_those_that_wait() -> None:
    """And one that was here keeps its place."""
    turns = RoundRobin().turns()
    first, second = Flow("1"), Flow("2")
    turns.joined(first, 0.0)
    turns.joined(second, 0.0)
    assert turns.key(first, head(), 0.0) < turns.key(second, head(), 0.0)
    turns.dispatched(first, 1.0, 0.0)
    turns.joined(first, 0.0)
    assert turns.key(second, head(), 0.0) < turns.key(first, head(), 0.0)


def test_attained_service_fades_and_waiting_counts() -> None:
    """By the half-life; 0.8 of the one and 0.2 of the other."""
    turns = ProgramAware().turns()
    served, fresh = Flow("served"), Flow("fresh")
    turns.dispatched(served, 1000.0, 0.0)
    assert turns.key(served, head(0.0), 0.0) == (0.8,)
    assert turns.key(served, head(60.0), 60.0) == pytest.approx((0.4,))
    assert turns.key(fresh, head(40.0), 60.0) == pytest.approx((-0.2,))
    turns.corrected(served, -2000.0, 60.0)
    assert served.counter == 0.0
    assert ProgramAware(las_half_life_seconds=0).turns().key(served, head(60.0), 60.0) == (0.0,)
