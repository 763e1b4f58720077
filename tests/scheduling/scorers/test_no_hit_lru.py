"""`no-hit-lru-scorer`: cold requests go round, warm ones do not count."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.no_hit_lru import NoHitLruScorer


def endpoint(number: int) -> Endpoint:
    """Return one endpoint."""
    return Endpoint.at(f"10.0.0.{number}", 8000)


def facts_of(numbers: Sequence[int], matched: Sequence[float] | None = None) -> Facts:
    """Return facts of these endpoints."""
    none = np.zeros(len(numbers))
    hits = none if matched is None else np.array(matched, dtype=float)
    return Facts(none, none, none, none, hits, endpoints=tuple(map(endpoint, numbers)))


def request() -> Request:
    """Return a request that is no other."""
    return Request(Head("/", "POST", {}))


def send(
    scorer: NoHitLruScorer, number: int, among: Sequence[int], matched: Sequence[float] | None = None
) -> None:
    """Score a request and decide it for *number*."""
    asked = request()
    scorer.score(asked, facts_of(among, matched))
    scorer.decided(Decision(1, asked, (endpoint(number),)))


def scores_of(scorer: NoHitLruScorer, numbers: Sequence[int]) -> list[float]:
    """Return what a cold request is told."""
    return scorer.score(request(), facts_of(numbers)).tolist()  # type: ignore[no-any-return]


def test_the_least_recently_used_scores_most() -> None:
    """All used: 1 - rank / (n - 1), oldest first."""
    scorer = NoHitLruScorer()
    for number in (2, 0, 1):
        send(scorer, number, (0, 1, 2))
    assert scores_of(scorer, (0, 1, 2)) == [0.5, 0.0, 1.0]
    send(scorer, 2, (0, 1, 2))
    assert scores_of(scorer, (0, 1, 2)) == [1.0, 0.5, 0.0]


def test_endpoints_never_used_come_before_those_that_were() -> None:
    """Of five, two used: they have the last two ranks."""
    scorer = NoHitLruScorer()
    send(scorer, 3, range(5))
    send(scorer, 1, range(5))
    scores = scores_of(scorer, range(5))
    assert (scores[3], scores[1]) == (0.25, 0.0)
    assert sorted(scores[number] for number in (0, 2, 4)) == [0.5, 0.75, 1.0]


@pytest.mark.parametrize("matched", [[0.0, 64.0], [64.0, 64.0]])
def test_a_request_that_anybody_has_a_prefix_of_is_nobodys_turn(matched: list[float]) -> None:
    """0.5 for all, and it does not count as a turn."""
    scorer = NoHitLruScorer()
    assert scorer.score(request(), facts_of((0, 1), matched)).tolist() == [0.5, 0.5]
    send(scorer, 0, (0, 1))
    send(scorer, 1, (0, 1), matched)
    assert scores_of(scorer, (0, 1)) == [0.0, 1.0]


def test_a_single_candidate_scores_one() -> None:
    """There is nothing to rank, whether it was used or not."""
    scorer = NoHitLruScorer()
    assert scores_of(scorer, (7,)) == [1.0]
    send(scorer, 7, (7,))
    assert scores_of(scorer, (7,)) == [1.0]


def test_weak_spot_9_the_cold_order_is_random() -> None:
    """Upstream prefers the first of the list; here each of the unused is first about as often."""
    random.seed(1)
    first = Counter(scores_of(NoHitLruScorer(), range(4)).index(1.0) for _ in range(400))
    assert set(first) == {0, 1, 2, 3}
    assert min(first.values()) > 60


def test_weak_spot_9_an_endpoint_that_left_takes_no_rank() -> None:
    """Upstream keeps it in the list, so that the others' ranks drift below 0."""
    scorer = NoHitLruScorer()
    for number in (0, 1, 2, 3):
        send(scorer, number, range(4))
    assert scores_of(scorer, (1, 3)) == [1.0, 0.0]


def test_it_remembers_no_more_than_it_may() -> None:
    """The least recent is forgotten first and counts as never used."""
    scorer = NoHitLruScorer(lru_size=2)
    for number in (0, 1, 2):
        send(scorer, number, range(3))
    assert scores_of(scorer, range(3)) == [1.0, 0.5, 0.0]
    send(scorer, 0, range(3))
    assert scores_of(scorer, range(3)) == [0.0, 1.0, 0.5]


def test_decisions_about_requests_that_it_did_not_score_are_no_turns() -> None:
    """It hears of every request, also of those of other profiles."""
    scorer = NoHitLruScorer()
    send(scorer, 0, (0, 1))
    scorer.score(request(), facts_of((0, 1)))  # turned away afterwards
    scorer.decided(Decision(1, request(), (endpoint(1),)))
    assert scores_of(scorer, (0, 1)) == [0.0, 1.0]


def test_another_producers_matches_can_be_asked_for() -> None:
    """A name that nobody has matches nothing: every request is cold."""
    scorer = NoHitLruScorer(prefix_match_info_producer_name="nobody")
    assert sorted(scorer.score(request(), facts_of((0, 1), [64, 0])).tolist()) == [0.0, 1.0]


@given(st.lists(st.integers(0, 5), max_size=30), st.sets(st.integers(0, 5), min_size=1))
def test_scores_rank_the_candidates_by_their_last_turn(turns: list[int], candidates: set[int]) -> None:
    """Law: every rank is given once, and the later the last turn the lower the score."""
    scorer, among = NoHitLruScorer(), sorted(candidates)
    for number in turns:
        send(scorer, number, range(6))
    scores = scores_of(scorer, among)
    assert sorted(scores) == pytest.approx(np.linspace(0, 1, len(among)) if len(among) > 1 else [1.0])
    last = {number: at for at, number in enumerate(turns)}
    used = sorted((number for number in among if number in last), key=last.__getitem__)
    ranked = [scores[among.index(number)] for number in used]
    assert ranked == sorted(ranked, reverse=True)
    assert all(
        scores[among.index(number)] > max(ranked, default=-1) for number in among if number not in last
    )
