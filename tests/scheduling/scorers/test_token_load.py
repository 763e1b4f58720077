"""`token-load-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.token_load import TokenLoadScorer


def scored(
    scorer: TokenLoadScorer, prompt_tokens: int, inflight: list[float], matched: list[float]
) -> list[float]:
    """Return the scores for a prompt of so many tokens."""
    none = np.zeros(len(inflight))
    request = Request(Head("/", "GET", {}), prompt_bytes=4 * prompt_tokens)
    facts = Facts(none, none, none, none, np.array(matched, dtype=float), inflight_tokens=np.array(inflight))
    return scorer.score(request, facts).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("threshold", "prompt", "inflight", "matched", "scores"),
    [
        (1000, 0, [0, 250, 1000, 4000], [0, 0, 0, 0], [1, 0.75, 0, 0]),
        (1000, 500, [0, 250, 500, 800], [0, 0, 0, 0], [0.5, 0.25, 0, 0]),
        (1000, 500, [0, 250, 250], [500, 250, 0], [1, 0.5, 0.25]),
        (1000, 100, [0], [128], [1]),
        (4_194_304, 0, [0, 2_097_152], [0, 0], [1, 0.5]),
        (0, 0, [2_097_152], [0], [0.5]),
        (-1, 0, [2_097_152], [0], [0.5]),
    ],
)
def test_the_score_falls_with_the_tokens_that_would_be_on_their_way(
    threshold: int, prompt: int, inflight: list[float], matched: list[float], scores: list[float]
) -> None:
    """1 - min(t, Q) / Q with t = in flight + max(0, prompt - matched); a Q that is not above 0 is the default."""
    scorer = TokenLoadScorer(queue_threshold_tokens=threshold)
    assert scored(scorer, prompt, inflight, matched) == pytest.approx(scores)


def test_a_producer_may_count_the_request_otherwise() -> None:
    """With output estimates, say: then its column is what this request adds."""
    none = np.zeros(2)
    facts = Facts(
        none, none, none, none, none,
        inflight_tokens=np.array([100.0, 0.0]), added_tokens=np.array([400.0, 300.0]),
    )  # fmt: skip
    scorer = TokenLoadScorer(queue_threshold_tokens=1000)
    assert scorer.score(Request(Head("/", "GET", {}), prompt_bytes=4), facts).tolist() == [0.5, 0.7]


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 9000)), min_size=1, max_size=12))
def test_more_tokens_never_score_more(pairs: list[tuple[int, int]]) -> None:
    """Law: order by the sum."""
    inflight, matched = [float(one) for one, _ in pairs], [float(one) for _, one in pairs]
    scores = scored(TokenLoadScorer(), 8000, inflight, matched)
    tokens = [load + max(0, 8000 - hit) for load, hit in zip(inflight, matched, strict=True)]
    ranked = [score for _, score in sorted(zip(tokens, scores, strict=True), key=lambda pair: pair[0])]
    assert ranked == sorted(ranked, reverse=True)
