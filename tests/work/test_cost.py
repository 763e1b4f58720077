"""The price of one more request, worked out by hand."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.work.cost import FIELDS, Price, Promised, Work, price
from igw.work.model import Rates

RATES = Rates(
    overhead=0.03, per_token=1e-4, per_pair=1e-9, step=0.02, per_sequence=1e-4, per_context_token=4e-8
)


def promised(candidates: int = 1, **values: float | list[float]) -> Promised:
    """Return idle endpoints of unknown memory, but for *values*."""
    usual = (
        dict.fromkeys(FIELDS, 0.0)
        | {"prefill_factor": 1.0, "decode_factor": 1.0, "free_tokens": inf}
        | values
    )
    return Promised(
        np.array([np.broadcast_to(np.array(usual[name], dtype=float), candidates) for name in FIELDS])
    )


def cost(
    what: Promised, prompt: float = 1000, uncached: float | list[float] = 1000, output: float = 200
) -> Price:
    """Return the price of a request of a thousand tokens."""
    count = what.rows.shape[1]
    column = np.broadcast_to(np.array(uncached, dtype=float), count)
    return price(Work(prompt, column, output), what, RATES, decode_seconds=5.0)


def test_an_idle_endpoint_costs_the_prefill_and_a_tenth_of_the_decoding() -> None:
    """0.1 s for a thousand tokens, 1 ms for their attention, and 0.1 x 200 tokens x 20.14 ms."""
    found = cost(promised())
    assert found.own == pytest.approx(0.101)
    assert found.terms["decode"] == pytest.approx(0.1 * 200 * (0.02 + 1e-4 + 4e-5))
    assert found.total == pytest.approx(0.101 + 0.1 * 200 * 0.02014)


def test_what_is_cached_is_not_computed_but_attended_to() -> None:
    """Only 100 of 1,000 tokens are new: 10 ms, and 1e6 - 900^2 pairs."""
    assert cost(promised(), uncached=100).own == pytest.approx(0.01 + 190_000e-9)


def test_a_fully_cached_prompt_still_computes_a_token() -> None:
    """Its output is what the answer starts from."""
    assert cost(promised(), uncached=0).own > 0


def test_the_backlog_is_what_is_ahead_less_what_is_done_of_the_oldest() -> None:
    """At most nine tenths of the oldest: it has no first token yet."""
    ahead = {"tokens": 10_000.0, "queued": 2.0, "oldest_tokens": 4_000.0}
    assert cost(promised(**ahead)).terms["backlog"] == pytest.approx(1.0)
    assert cost(promised(**ahead, done_seconds=0.3)).terms["backlog"] == pytest.approx(0.7)
    assert cost(promised(**ahead, done_seconds=9.0)).terms["backlog"] == pytest.approx(1.0 - 0.36)


def test_others_are_delayed_by_my_prefill() -> None:
    """Those in the queue by all of it and once more for those to come, those running by a sixteenth."""
    found = cost(promised(queued=3.0, running=8.0))
    assert found.terms["queue"] == pytest.approx(0.101 * 6)
    assert found.terms["stall"] == pytest.approx(0.101 / 2)


def test_memory_that_is_short_is_waited_for() -> None:
    """10,000 tokens short of 50,000 in flight take a fifth of a mean answer's time to come free."""
    full = promised(free_tokens=98_000.0 - 106_950.0, context_tokens=50_000.0)
    assert cost(full).terms["memory"] == pytest.approx((107_950 + 50 - 98_000) / 50_000 * 5.0)
    assert cost(promised(free_tokens=1050.0)).terms["memory"] == 0.0
    assert cost(promised()).terms["memory"] == 0.0


def test_running_requests_are_slowed_down() -> None:
    """A twentieth of 200 tokens, for each of ten, by one more sequence with a thousand tokens."""
    found = cost(promised(running=10.0))
    assert found.terms["slowdown"] == pytest.approx(0.05 * 200 * 10 * (1e-4 + 4e-5))


def test_a_slow_accelerator_costs_more_in_proportion() -> None:
    """Prefill by its factor, decoding by its own."""
    fast, slow = cost(promised(queued=1.0)), cost(promised(queued=1.0, prefill_factor=3.0, decode_factor=2.0))
    assert slow.own == pytest.approx(3 * fast.own)
    assert slow.terms["queue"] == pytest.approx(3 * fast.terms["queue"])
    assert slow.terms["decode"] == pytest.approx(2 * fast.terms["decode"])


_seconds = st.floats(0, 1e3)
_tokens = st.floats(0, 1e6)


@given(st.data())
def test_the_terms_add_up_and_more_work_never_costs_less(data: st.DataObject) -> None:
    """For any state; every term is finite and not negative."""
    values = {name: data.draw(_tokens) for name in FIELDS}
    values |= {name: data.draw(st.floats(0.05, 20)) for name in ("prefill_factor", "decode_factor")}
    values |= {"queued": data.draw(st.integers(0, 500)), "running": data.draw(st.integers(0, 500))}
    prompt = data.draw(st.floats(1, 1e5))
    uncached = data.draw(st.floats(0, prompt))
    found = cost(promised(**values), prompt, uncached)
    assert sum(found.terms.values()) == pytest.approx(found.total)
    assert all(np.isfinite(term).all() and (term >= 0).all() for term in found.terms.values())
    more = data.draw(
        st.sampled_from(["tokens", "pairs", "queued", "running", "prefill_factor", "decode_factor"])
    )
    worse = promised(**values | {more: values[more] * 2 + 1})
    assert cost(worse, prompt, uncached).total >= found.total * (1 - 1e-12)


def test_whoever_waits_for_memory_or_a_seat_waits_for_others_to_end() -> None:
    """Three tenths of a mean answer's time, on a slow accelerator three times as long."""
    blocked = promised(turns=0.3, blocked=2.0, kv_tokens=20_000.0)
    assert cost(blocked).terms["memory"] == 0.0
    looked_at = Promised(blocked.rows, any_blocked=True)
    assert cost(looked_at).terms["memory"] == pytest.approx(0.3 * 5.0)
    slow = Promised(promised(turns=0.3, blocked=2.0, decode_factor=3.0).rows, any_blocked=True)
    assert cost(slow).terms["memory"] == pytest.approx(0.9 * 5.0)


def test_where_memory_is_short_it_costs_to_take_more_of_it_than_elsewhere() -> None:
    """Two of three endpoints keep three requests waiting: a prompt that is cached somewhere stays there."""
    what = promised(3, blocked=[3.0, 3.0, 0.0], turns=[0.2, 0.2, 0.0], kv_tokens=50_000.0)
    found = cost(Promised(what.rows, any_blocked=True), uncached=[100, 1000, 1000])
    assert found.terms["crowding"] == pytest.approx([4 * 2 * new / 50_000 * 5.0 for new in (100, 1000, 1000)])
    assert sum(found.terms.values()) == pytest.approx(found.total)


def test_further_terms_are_added() -> None:
    """An adapter that must be loaded, a cache that must be fetched."""
    load = np.array([0.0, 0.7])
    plain = cost(promised(2))
    found = price(Work(1000, np.array([1000.0, 1000.0]), 200, {"adapter": load}), promised(2), RATES, 5.0)
    assert found.total - plain.total == pytest.approx(load)
    assert found.terms["adapter"] is load
