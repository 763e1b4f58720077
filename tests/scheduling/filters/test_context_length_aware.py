"""`context-length-aware` by table: scores by upstream's formula, and who stays when it filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.errors import ConfigError
from igw.scheduling.filters.context_length_aware import ContextLengthAware
from tests.scheduling.candidates import endpoints, facts, plugin, request

LABEL = "llm-d.ai/context-length-range"


@pytest.mark.parametrize(
    ("written", "tokens", "score"),
    [
        # 0.3 + 0.7 * (0.7 / (1 + 10000/10000) + 0.3 * 5000/10000)
        pytest.param("0-10000", 5_000, 0.3 + 0.7 * (0.35 + 0.15), id="in the middle"),
        pytest.param("0-10000", 0, 0.3 + 0.7 * (0.35 + 0.3), id="at the lower end"),
        pytest.param("0-10000", 10_000, 0.3 + 0.7 * 0.35, id="at the upper end"),
        pytest.param("2000-4500", 2_500, 0.3 + 0.7 * (0.7 / 1.25 + 0.3 * 0.8), id="narrow"),
        pytest.param("7-7", 7, 1.0, id="one length"),
        pytest.param("2000-3000", 1_000, 0.15, id="a thousand below"),
        pytest.param("2000-3000", 12_000, 0.03, id="nine thousand above"),
        pytest.param(None, 5, 0.5, id="no label"),
        pytest.param("3000-2000", 2_500, 0.0, id="upside down"),
        pytest.param("all", 5, 0.0, id="no range"),
        pytest.param("-5-10", 5, 0.0, id="below nothing"),
    ],
)
def test_the_range_and_the_length_make_the_score(written: str | None, tokens: int, score: float) -> None:
    """Worked out by hand."""
    known = facts(endpoints({} if written is None else {LABEL: written}))
    aware = plugin(ContextLengthAware)
    assert aware.score(request(tokens=tokens), known).tolist() == pytest.approx([score])
    assert aware.keep(request(tokens=tokens), known).all()


def test_as_a_filter_it_keeps_ranges_that_hold_the_prompt_and_endpoints_without_one() -> None:
    """An unknown length is 0; a label that cannot be read is left out."""
    known = facts(endpoints({LABEL: "0-2048"}, {LABEL: "2048-8192"}, {}, {LABEL: "?"}))
    filtering = plugin(ContextLengthAware, enableFiltering=True)
    kept = {n: filtering.keep(request(tokens=n), known).astype(int).tolist() for n in (0, 2048, 9000)}
    assert kept == {0: [1, 0, 1, 0], 2048: [1, 1, 1, 0], 9000: [0, 0, 1, 0]}


def test_the_label_may_be_another_but_not_none() -> None:
    """Upstream refuses an empty one too."""
    known = facts(endpoints({"size": "5-5"}))
    assert plugin(ContextLengthAware, label="size").score(request(tokens=5), known).tolist() == [1]
    with pytest.raises(ConfigError):
        plugin(ContextLengthAware, label="")


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_any_range_that_holds_the_prompt_beats_any_that_does_not(
    ranges: list[tuple[int, int]], tokens: int
) -> None:
    """Law: above 0.3 inside, at most 0.3 outside, never out of [0, 1]."""
    spans = [(min(span), max(span)) for span in ranges]
    known = facts(endpoints(*[{LABEL: f"{low}-{high}"} for low, high in spans]))
    scores = plugin(ContextLengthAware).score(request(tokens=tokens), known)
    for (low, high), score in zip(spans, scores.tolist(), strict=True):
        assert 0.3 < score <= 1 if low <= tokens <= high else 0 <= score < 0.3
