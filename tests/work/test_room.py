"""Room: an idle endpoint always, others if seat, backlog, queue and memory allow."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.work.cost import FIELDS, Price, Promised, Work, price
from igw.work.model import Rates
from igw.work.room import has_room, places

RATES = Rates(0.03, 1e-4, 1e-9, 0.02, 1e-4, 4e-8)
USUAL = dict.fromkeys(FIELDS, 0.0) | {"prefill_factor": 1.0, "decode_factor": 1.0, "free_tokens": inf}


def asked(waiting: float = 0.0, seats: float = 256.0, **values: float) -> tuple[bool, bool]:
    """Return whether one endpoint has room, and whether a request of a thousand tokens has a place there."""
    promised = Promised(np.array([[value] for value in (USUAL | values).values()]))
    cost = price(Work(1000, np.array([1000.0]), 200), promised, RATES, 5.0)
    queue = np.array([waiting])
    room = has_room(promised, cost.terms["backlog"], queue, seats)
    return bool(room[0]), bool(places(promised, cost, queue, seats)[0])


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


def test_columns_stay_aligned() -> None:
    """One answer per candidate, in order."""
    rows = np.array([[value] * 3 for value in USUAL.values()])
    rows[FIELDS.index("running")] = [0.0, 5.0, 5.0]
    rows[FIELDS.index("free_tokens")] = [1.0, 1.0, 1e6]
    promised = Promised(rows)
    cost: Price = price(Work(1000, np.full(3, 1000.0), 200), promised, RATES, 5.0)
    assert places(promised, cost, np.zeros(3)).tolist() == [True, False, True]


def test_a_batch_that_was_found_full_has_no_seat() -> None:
    """Also where nobody says how many it holds."""
    values = {"running": 8.0}
    assert asked(seats=inf, **values) == (True, True)
    promised = Promised(np.array([[value] for value in (USUAL | values | {"seats": 8.0}).values()]))
    assert not has_room(promised, np.zeros(1), np.zeros(1))[0]
