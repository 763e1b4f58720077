"""The plugins that come with us: one law for all scorers, one for all pickers, and the default profile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.builtin import PICKERS, SCORERS, default

NO_FACTS = Facts(*[np.zeros(0)] * 5)

REQUEST = Request(Head("/", "GET", {}))


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Draw the facts of one pick, as their owners promise them: finite, KV usage in [0, 1]."""
    count = draw(st.integers(1, 12))
    tokens = draw(st.integers(0, 9000))

    def column(top: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array(draw(st.lists(st.floats(0, top), min_size=count, max_size=count)))

    matched = draw(st.lists(st.integers(0, tokens), min_size=count, max_size=count))
    inflight = draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count))
    return Facts(
        column(1e6),
        column(1e6),
        column(1),
        np.array(inflight, dtype=float),
        np.array(matched, dtype=float),
        range(min(9, tokens)),
        tokens,
    )


def columns_of(facts: Facts) -> list[list[float]]:
    """Return a copy of every column."""
    names = ("waiting", "running", "kv_usage", "inflight", "matched_tokens")
    return [getattr(facts, name).tolist() for name in names]


@pytest.mark.parametrize("kind", SCORERS)
@given(facts=any_facts())
def test_scores_are_aligned_finite_and_from_zero_to_one(kind: str, facts: Facts) -> None:
    """Law: one score per candidate, no NaN, and the columns that are shared with others stay as they were."""
    before = columns_of(facts)
    scores = SCORERS[kind]().score(REQUEST, facts)
    assert scores.shape == facts.inflight.shape
    assert ((scores >= 0) & (scores <= 1)).all()
    assert columns_of(facts) == before


@pytest.mark.parametrize("kind", PICKERS)
@given(totals=st.lists(st.floats(-100, 100), min_size=1, max_size=12), count=st.integers(-1, 20))
def test_every_picker_takes_some_candidates_once_each(kind: str, totals: list[float], count: int) -> None:
    """Law: at least one, at most all, none twice, all of them there."""
    picked = PICKERS[kind](max_num_of_endpoints=count).pick(np.array(totals), NO_FACTS)
    assert 1 <= len(picked) == len(set(picked)) <= len(totals)
    assert set(picked) <= set(range(len(totals)))


def test_plugins_are_found_by_the_type_they_have() -> None:
    """A line in the table cannot name one plugin and mean another."""
    assert set(SCORERS) == {
        "queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer", "active-request-scorer"
    }  # fmt: skip
    assert set(PICKERS) == {"max-score-picker", "random-picker", "round-robin-picker"}
    assert all(plugin.type == kind for kind, plugin in (SCORERS | PICKERS).items())


def test_the_default_profile_has_upstreams_weights() -> None:
    """Queue 2, KV 2, prefix 3; the load we reserved ourselves comes on top."""
    assert {weighted.name: weighted.weight for weighted in default().profiles["default"].scorers} == {
        "queue-scorer": 2,
        "kv-cache-utilization-scorer": 2,
        "prefix-cache-scorer": 3,
        "active-request-scorer": 2,
    }


def test_the_default_profile_weighs_the_prefix_against_the_load() -> None:
    """A cached prompt is worth going to a busy endpoint, but not to a far busier one; a retry is named."""
    none = np.zeros(2)
    cached = np.array([256.0, 0.0])
    choice = default().pick(REQUEST, Facts(none, none, none, np.array([1.0, 0.0]), cached, range(4), 256))
    assert choice.picked == [0, 1]
    choice = default().pick(
        REQUEST, Facts(np.array([9.0, 0.0]), none, none, np.array([9.0, 0.0]), cached, range(4), 256)
    )
    assert choice.picked == [1, 0]
