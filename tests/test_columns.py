"""Columns: rows follow their endpoints through every snapshot, and nobody unknown looks idle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.facts import Adapters

NAMES = ("waiting", "running", "kv_usage", "inflight", "reported", "failing")


def pool(*ports: int) -> Pool:
    """Return a pool of loopback endpoints on *ports*."""
    return Pool("p", "default", tuple(Endpoint.at("127.0.0.1", port) for port in ports))


def columns(*ports: int) -> Columns:
    """Return columns whose prefix slots are the ports themselves."""
    return Columns(pool(*ports), lambda where: int(where.rpartition(":")[2]))


def at(port: int) -> str:
    """Return the identity of an endpoint."""
    return f"127.0.0.1:{port}"


def test_a_new_pool_starts_with_nothing_known() -> None:
    """One row per endpoint, in pool order."""
    made = columns(8, 9)
    assert made.row == {at(8): 0, at(9): 1}
    assert made.slots.tolist() == [8, 9]
    assert not made.reported.any()
    assert not made.any_failing
    assert all(len(getattr(made, name)) == 2 for name in NAMES)


def test_rows_survive_a_new_snapshot_in_another_order() -> None:
    """What is known of an endpoint moves with it; who left is told; who came holds the mean."""
    made = columns(1, 2, 3)
    for port in (1, 2, 3):
        made.report(at(port), waiting=port, running=10 * port, kv_usage=port / 10)
    made.inflight[:] = [5, 6, 7]
    made.eject(at(3), 50.0)
    gone = made.adopt(pool(3, 4, 1))
    assert [endpoint.port for endpoint in gone] == [2]
    assert made.waiting.tolist() == [3, 2, 1]
    assert made.running.tolist() == [30, 20, 10]
    assert np.allclose(made.kv_usage, [0.3, 0.2, 0.1])
    assert made.inflight.tolist() == [7, 0, 5]
    assert made.reported.tolist() == [True, False, True]
    assert made.back_at.tolist() == [50.0, -np.inf, -np.inf]
    assert made.slots.tolist() == [3, 4, 1]


def test_an_endpoint_that_fails_still_does_in_a_new_snapshot() -> None:
    """Only a report makes it a candidate again."""
    made = columns(1, 2)
    made.fail(at(2))
    made.adopt(pool(2, 3))
    assert made.failing.tolist() == [True, False]


def test_what_is_overdue_is_unknown_and_follows_the_others() -> None:
    """The mean of those that are known, also as it changes; its own values again when it reports."""
    made = columns(1, 2, 3)
    for port in (1, 2, 3):
        made.report(at(port), waiting=port, running=0, kv_usage=0)
    made.expire(at(1))
    assert made.waiting.tolist() == [2.5, 2, 3]
    made.report(at(3), waiting=8, running=0, kv_usage=0)
    assert made.waiting.tolist() == [5, 2, 8]
    made.report(at(1), waiting=1, running=0, kv_usage=0)
    assert made.waiting.tolist() == [1, 2, 8]


def test_nobody_looks_idle_when_everybody_is_silent() -> None:
    """All hold the same, whoever was idle when it was last heard of."""
    made = columns(1, 2)
    made.report(at(1), waiting=0, running=0, kv_usage=0)
    made.report(at(2), waiting=6, running=0, kv_usage=0)
    made.fail(at(1))
    made.fail(at(2))
    assert made.waiting.tolist() == [6, 6]


def test_what_one_engine_does_not_tell_is_the_mean_of_those_that_do() -> None:
    """Each quantity by itself, also as it changes and in another order; nothing where nobody tells."""
    made = columns(1, 2, 3)
    made.report(at(1), waiting=1, running=None, kv_usage=None)
    made.report(at(2), waiting=2, running=4, kv_usage=None)
    made.report(at(3), waiting=None, running=8, kv_usage=None)
    assert made.reported.all()
    assert made.waiting.tolist() == [1, 2, 1.5]
    assert made.running.tolist() == [6, 4, 8]
    assert made.kv_usage.tolist() == [0, 0, 0]
    made.adopt(pool(3, 2, 1))
    made.report(at(2), waiting=5, running=4, kv_usage=0.5)
    assert made.waiting.tolist() == [3, 5, 1]
    assert made.kv_usage.tolist() == [0.5, 0.5, 0.5]


def test_custom_metrics_are_missing_where_nobody_has_them() -> None:
    """They follow their endpoints, end with what was said, and go when nobody has them any more."""
    made = columns(1, 2)
    made.report(at(1), 0, 0, 0)
    made.report_scalars(at(1), {"a": 1.0, "b": 2.0})
    made.report_scalars(at(2), {"b": 3.0})
    made.adopt(pool(2, 3, 1))
    assert made.scalars["a"].tolist() == pytest.approx([np.nan, np.nan, 1], nan_ok=True)
    assert made.scalars["b"].tolist() == pytest.approx([3, np.nan, 2], nan_ok=True)
    made.expire(at(1))
    assert made.scalars["b"].tolist() == pytest.approx([3, np.nan, np.nan], nan_ok=True)
    made.report_scalars(at(2), {})
    assert made.scalars == {}


def test_who_is_ejected_returns_gradually() -> None:
    """Nothing until it is back, then a growing share of requests, then all."""
    made = columns(1, 2)
    assert made.shares(0.0).tolist() == [1, 1]
    made.eject(at(1), 100.0)
    assert made.any_ejected
    shares = [made.shares(now)[0] for now in (50.0, 99.9, 100.0, 115.0, 130.0, 1e6)]
    assert shares == pytest.approx([0, 0, 0.1, 0.5, 1, 1])
    assert made.shares(50.0)[1] == 1


def test_the_last_failing_endpoint_takes_the_flag_with_it() -> None:
    """`any_failing` speaks of the endpoints that are there."""
    made = columns(1, 2)
    made.fail(at(2))
    assert made.any_failing
    made.adopt(pool(1))
    assert not made.any_failing


def test_endpoints_that_never_reported_hold_the_mean_of_those_that_did() -> None:
    """A new endpoint looks neither idle, which would draw every request to it, nor full."""
    made = columns(1, 2, 3)
    made.report(at(1), waiting=4, running=8, kv_usage=0.5)
    assert made.waiting.tolist() == [4, 4, 4]
    made.report(at(2), waiting=0, running=2, kv_usage=0.1)
    assert made.waiting.tolist() == [4, 0, 2]
    assert made.running.tolist() == [8, 2, 5]
    assert np.allclose(made.kv_usage, [0.5, 0.1, 0.3])


def test_a_report_ends_failing() -> None:
    """Who answers a scrape can be reached."""
    made = columns(1, 2)
    made.fail(at(1))
    made.fail(at(2))
    made.report(at(1), 0, 0, 0)
    assert made.failing.tolist() == [False, True]
    assert made.any_failing
    made.report(at(2), 0, 0, 0)
    assert not made.any_failing


def test_reports_and_failures_of_strangers_change_nothing() -> None:
    """A scrape may come back after its endpoint has left."""
    made = columns(1)
    made.report(at(9), 5, 5, 0.5)
    made.fail(at(9))
    assert made.waiting.tolist() == [0]
    assert not made.reported.any()
    assert not made.any_failing


def test_adapters_follow_their_endpoint() -> None:
    """Through a new snapshot; an engine that no longer speaks of any has none, and strangers change nothing."""
    made, poet = columns(1, 2), Adapters(frozenset({"poet"}), most=4)
    assert made.adapters.tolist() == [Adapters(), Adapters()]
    made.report_adapters(at(2), poet)
    made.report_adapters(at(9), poet)
    made.adopt(pool(2, 3))
    assert made.adapters.tolist() == [poet, Adapters()]
    made.report_adapters(at(2), None)
    assert made.adapters.tolist() == [Adapters(), Adapters()]


def test_an_emptied_pool_can_fill_again() -> None:
    """Scaling to zero and back is a snapshot like any other."""
    made = columns(1)
    made.report(at(1), 1, 1, 0.5)
    assert [endpoint.port for endpoint in made.adopt(pool())] == [1]
    assert len(made.waiting) == 0
    assert made.adopt(pool(1)) == []
    assert made.waiting.tolist() == [0]
    assert made.reported.tolist() == [False]


@given(
    st.lists(
        st.one_of(
            st.lists(st.integers(1, 6), unique=True, max_size=6),
            st.tuples(st.integers(1, 6), st.floats(0, 100), st.floats(0, 1)),
            st.integers(1, 6),
        ),
        max_size=30,
    )
)
def test_columns_agree_with_a_table_kept_per_endpoint(steps: list[object]) -> None:
    """Law: whatever comes and goes, an endpoint that reported keeps what it said until it fails, and everything is finite."""
    made, present, said, failing = columns(), set[int](), dict[int, tuple[float, float]](), set[int]()
    for step in steps:
        if isinstance(step, list):
            made.adopt(pool(*step))
            present = set(step)
            said = {port: values for port, values in said.items() if port in present}
            failing &= present
        elif isinstance(step, tuple):
            port, waiting, usage = step
            made.report(at(port), waiting, 1.0, usage)
            if port in present:
                said[port] = (waiting, usage)
                failing.discard(port)
        elif isinstance(step, int):
            made.fail(at(step))
            failing |= {step} & present
            said.pop(step, None)
        for port in present:
            row = made.row[at(port)]
            assert made.reported[row] == (port in said)
            assert made.failing[row] == (port in failing)
            if port in said:
                assert (made.waiting[row], made.kv_usage[row]) == said[port]
        assert made.any_failing == bool(failing)
        assert all(np.isfinite(getattr(made, name)).all() for name in NAMES)
