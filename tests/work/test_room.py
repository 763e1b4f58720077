"""Room: an idle endpoint always, others if seat, backlog, queue and memory allow."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.work.cost import FIELDS, Promised, Work, backlog_seconds, needed_tokens, price
from igw.work.model import Rates
from igw.work.room import fill, has_room, spare

RATES = Rates(0.03, 1e-4, 1e-9, 0.02, 1e-4, 4e-8)
USUAL = dict.fromkeys(FIELDS, 0.0) | {"prefill_factor": 1.0, "decode_factor": 1.0, "free_tokens": inf}


WORK = Work(1000, np.array([1000.0]), 200)


def asked(waiting: float = 0.0, **values: float) -> tuple[bool, bool]:
    """Return whether one endpoint has room, and whether a request of a thousand tokens has a place there."""
    promised = Promised(np.array([[value] for value in (USUAL | values).values()]))
    state = promised, backlog_seconds(promised, RATES), np.array([waiting])
    return bool(has_room(*state)[0]), bool((needed_tokens(WORK) <= spare(*state))[0])


@pytest.mark.parametrize(
    ("values", "room", "place"),
    [
        ({}, True, True),
        ({"running": 20}, True, True),
        ({"running": 20, "seats": 20}, False, False),
        ({"running": 20, "waiting": 1}, False, False),
        ({"running": 20, "queued": 1, "waiting": 1}, True, True),
        ({"running": 20, "queued": 1, "tokens": 4_000}, True, True),
        ({"running": 20, "queued": 1, "tokens": 6_000}, False, False),
        ({"running": 20, "free_tokens": 900}, True, False),
        ({"free_tokens": 900}, True, True),  # idle: where else should it ever go
        ({"waiting": 5}, True, True),
    ],
)
def test_room_and_place(values: dict[str, float], room: bool, place: bool) -> None:
    """Half a second of backlog is the most; memory counts for the place only."""
    assert asked(**values) == (room, place)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0, 1e5), st.integers(0, 50), st.floats(-1e4, 1e6))
def test_a_place_has_room_and_an_idle_endpoint_is_one(
    queued: int, running: int, tokens: float, waiting: int, free: float
) -> None:
    """Whatever else is true of it."""
    room, place = asked(waiting, queued=queued, running=running, tokens=tokens, free_tokens=free)
    assert room or not place
    assert place or queued + running > 0


@given(st.floats(-1e4, 1e5), st.floats(0, 1000), st.integers(0, 50), st.floats(0, 5))
def test_what_fits_has_no_price_in_memory(free: float, cached: float, running: int, turns: float) -> None:
    """Room for a request and the price of memory are two views of one thing."""
    rows = np.array(
        [[value] for value in (USUAL | {"free_tokens": free, "running": running, "turns": turns}).values()]
    )
    promised = Promised(rows, any_blocked=turns > 0)
    work = Work(1000, np.array([1000.0 - cached]), 200)
    state = promised, backlog_seconds(promised, RATES), np.zeros(1)
    fits = bool((needed_tokens(work) <= spare(*state))[0])
    assert fits == (running == 0 or price(work, promised, RATES, 5.0).terms["memory"][0] == 0.0)


def test_columns_stay_aligned() -> None:
    """One answer per candidate, in order."""
    rows = np.array([[value] * 4 for value in USUAL.values()])
    rows[FIELDS.index("running")] = [0.0, 5.0, 5.0, 5.0]
    rows[FIELDS.index("free_tokens")] = [1.0, -1.0, 1e6, 1e6]
    rows[FIELDS.index("turns")] = [0.0, 0.0, 0.0, 0.1]
    promised = Promised(rows)
    assert spare(promised, np.zeros(4), np.zeros(4)).tolist() == [inf, 0.0, 1e6, 0.0]


def test_a_batch_without_a_seat_has_no_room() -> None:
    """However much memory it has."""
    assert asked(running=8.0) == (True, True)
    assert asked(running=8.0, seats=8.0) == (False, False)


@pytest.mark.parametrize(
    ("values", "full"),
    [
        ({}, 0.0),
        ({"running": 4, "seats": 8}, 0.5),
        ({"running": 8, "seats": 8}, 1.0),
        ({"running": 2, "kv_tokens": 3_000, "free_tokens": 1_000}, 0.75),
        ({"running": 2, "kv_tokens": 3_000, "free_tokens": -100}, 0.99),  # a small one may still have room
        ({"running": 2, "seats": 8, "queued": 1, "backlog": 0.4}, 0.8),
        ({"running": 2, "seats": 8, "queued": 1, "backlog": 0.6}, 1.0),
    ],
)
def test_an_endpoint_is_as_full_as_what_is_scarcest(values: dict[str, float], full: float) -> None:
    """And full only where there is no room."""
    backlog = np.array([values.pop("backlog", 0.0)])
    promised = Promised(np.array([[value] for value in (USUAL | values).values()]))
    assert fill(promised, backlog, np.zeros(1)).tolist() == pytest.approx([full])
