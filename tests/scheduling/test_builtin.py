"""The plugins that come with us: one law for all scorers, one for all pickers, and the default profile."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.endpoint import Endpoint, Pool
from igw.facts import Adapters, Facts
from igw.prefix.events import PORT_LABEL
from igw.request import Head, Request
from igw.scheduling.builtin import ADMITTERS, PICKERS, SCORERS, default
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.pickers.near_tie import NearTiePicker
from igw.scheduling.scheduler import Scheduler

NO_FACTS = Facts(*[np.zeros(0)] * 5)

REQUEST = Request(Head("/", "GET", {"x-tier": "batch"}), model="poet")

PARAMETERS: dict[str, dict[str, object]] = {
    "header-label-affinity-scorer": {"headerName": "X-Tier", "labelKey": "tier"},
    "endpoint-attribute-scorer": {
        "attributeKey": "depth",
        "algorithm": {"type": "linear_lower_is_better"},
    },
}
"""Of plugins that cannot do without."""


scalar = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")))


def adapters() -> st.SearchStrategy[Adapters]:
    """Draw what an engine may say of its adapters."""
    names = st.frozensets(st.sampled_from(["poet", "lawyer", "cook"]))
    return st.builds(Adapters, names, names, st.integers(0, 4), st.sampled_from(["", "base", "poet"]))


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
        inflight_tokens=column(1e6),
        endpoints=tuple(Endpoint.at(f"10.0.0.{row}", 8000, labels={"tier": "batch"}) for row in range(count)),
        adapters=np.array(draw(st.lists(adapters(), min_size=count, max_size=count)), dtype=object),
        matched_media=column(64),
        media_size=64,
        scalars={"depth": np.array(draw(st.lists(scalar, min_size=count, max_size=count)))},
    )


def columns_of(facts: Facts) -> list[list[float]]:
    """Return a copy of every column."""
    names = (
        "waiting",
        "running",
        "kv_usage",
        "inflight",
        "matched_tokens",
        "inflight_tokens",
        "matched_media",
    )
    return [getattr(facts, name).tolist() for name in names]


@pytest.mark.parametrize("kind", SCORERS)
@given(facts=any_facts())
def test_scores_are_aligned_finite_and_from_zero_to_one(kind: str, facts: Facts) -> None:
    """Law: one score per candidate, no NaN, and the columns that are shared with others stay as they were."""
    before = columns_of(facts)
    scorer = msgspec.convert(PARAMETERS.get(kind, {}), SCORERS[kind])
    scores = scorer.score(REQUEST, facts)
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
    assert all(plugin.type == kind for kind, plugin in (SCORERS | PICKERS | ADMITTERS).items())


def test_the_default_goes_by_marginal_work() -> None:
    """And nothing else; near ties go to the coldest cache, and a retry is named."""
    profile = default().profiles["default"]
    assert [(weighted.name, weighted.weight) for weighted in profile.scorers] == [
        ("marginal-work-scorer", 1.0)
    ]
    assert profile.picker == NearTiePicker(near_tie=0.1, max_num_of_endpoints=2)
    assert default().needs_work
    assert not Scheduler.of((), MaxScorePicker()).needs_work


def test_the_default_weighs_the_work_that_is_saved_against_the_work_that_waits() -> None:
    """In seconds: costs decide, whatever they are made of; the other one is named for a retry."""
    none = np.zeros(2)
    for cost, picked in (([1.0, 2.0], [0, 1]), ([2.0, 1.0], [1, 0])):
        facts = Facts(*[none] * 5, cost=np.array(cost), own_cost=np.array([0.5, 0.5]), oldest_use=none)
        assert default().pick(REQUEST, facts).picked == picked


def test_endpoints_that_publish_make_the_default_listen() -> None:
    """The label is enough; without it nothing is added. An index that stays is kept."""
    silent = Pool("p", "default", (Endpoint.at("10.0.0.1", 8000),))
    telling = Pool("q", "default", (Endpoint.at("10.0.0.2", 8000, labels={PORT_LABEL: "5557"}),))
    plain, exact = default([silent]), default([silent, telling])
    assert plain == default()
    assert plain.plugins.producers == ()
    assert exact.profiles == plain.profiles
    assert [[each.name for each in level] for level in exact.plugins.producers] == [
        ["token-producer"],
        ["precise-prefix-cache-producer"],
    ]
    again = default([telling], exact.plugins)
    for name, plugin in exact.plugins.by_name.items():
        assert again.plugins.by_name[name] is plugin
    assert default([telling]).plugins.by_name["token-producer"] is not exact.plugins.by_name["token-producer"]
