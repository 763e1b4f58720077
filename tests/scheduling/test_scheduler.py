"""The scheduler: weighted sums, handed to a picker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from igw.facts import Column, Facts
from igw.request import Head, Request
from igw.scheduling.scheduler import Scheduler, Weighted

REQUEST = Request(Head("/", "GET", {}))


class Fixed:
    """A scorer that scores what it was told."""

    type = "fixed"

    def __init__(self, *scores: float) -> None:
        self.scores = np.array(scores)

    def score(self, _request: Request, _facts: Facts, /) -> Column:
        """Return the scores."""
        return self.scores


class Remembering:
    """A picker that keeps what it was given, spoils it, and takes the last."""

    type = "remembering"

    def __init__(self) -> None:
        self.totals: list[float] = []

    def pick(self, totals: Column, /) -> Sequence[int]:
        """Take the last candidate."""
        self.totals = totals.tolist()
        totals[:] = -1
        return [len(totals) - 1]


def facts(count: int) -> Facts:
    """Return facts on *count* idle endpoints."""
    none = np.zeros(count)
    return Facts(none, none, none, none, none)


def test_scores_are_weighted_and_summed() -> None:
    """The choice tells each column as it went into the sum; a weight may be negative or nothing."""
    picker = Remembering()
    weighted = (
        Weighted("a", Fixed(1, 0), 2),
        Weighted("b", Fixed(0.5, 1), -1),
        Weighted("c", Fixed(1, 1), 0),
    )
    choice = Scheduler(weighted, picker).pick(REQUEST, facts(2))
    assert picker.totals == [1.5, -1]
    assert choice.picked == [1]
    assert {name: column.tolist() for name, column in choice.scores.items()} == {
        "a": [2, 0],
        "b": [-0.5, -1],
        "c": [0, 0],
    }


def test_without_scorers_all_candidates_are_equal() -> None:
    """The picker decides alone."""
    picker = Remembering()
    choice = Scheduler((), picker).pick(REQUEST, facts(3))
    assert picker.totals == [0, 0, 0]
    assert choice.picked == [2]
    assert choice.scores == {}


def test_a_picker_may_spoil_the_totals_but_not_the_scores() -> None:
    """Scorers hand out columns that others read; the sum is a new one."""
    scorer = Fixed(1, 2)
    choice = Scheduler((Weighted("a", scorer, 1),), Remembering()).pick(REQUEST, facts(2))
    assert choice.scores["a"].tolist() == [1, 2]
    assert scorer.scores.tolist() == [1, 2]
