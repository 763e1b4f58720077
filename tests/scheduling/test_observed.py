"""Timed plugins: they decide as before, and every call is told once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from igw.facts import Column, Facts
from igw.request import Head, Request
from igw.scheduling.instances import Instances, Producing
from igw.scheduling.observed import Observe, observed
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.profile import Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.active_request import ActiveRequestScorer
from igw.scheduling.scorers.queue import QueueScorer

NO_FACTS = Facts(*[np.zeros(0)] * 5)

REQUEST = Request(Head("/", "GET", {}))
FACTS = Facts(np.array([3.0, 1.0]), np.zeros(2), np.zeros(2), np.array([0.0, 1.0]), np.zeros(2))


class Book:
    """Notes the seconds of each series."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str, str], list[float]] = {}

    def series(self, point: str, kind: str, name: str) -> Observe:
        """Return where the seconds of one plugin are written."""
        return self.seconds.setdefault((point, kind, name), []).append


class Failing:
    """A plugin that always fails."""

    type = "failing"

    def score(self, _request: Request, _facts: Facts, /) -> Column:
        """Fail."""
        raise RuntimeError("no score")

    def pick(self, _totals: Column, _facts: Facts, /) -> Sequence[int]:
        """Fail."""
        raise RuntimeError("no pick")


def test_a_timed_scheduler_decides_as_the_plain_one() -> None:
    """Same picks, same scores, same names and weights."""
    plain = Scheduler.of(
        (Weighted("q", QueueScorer(), 2), Weighted("a", ActiveRequestScorer(), 0.5)), MaxScorePicker(2)
    )
    timed = observed(plain, Book().series, lambda: 0.0)
    one, other = plain.pick(REQUEST, FACTS), timed.pick(REQUEST, FACTS)
    assert one.picked == other.picked
    assert {name: column.tolist() for name, column in one.scores.items()} == {
        name: column.tolist() for name, column in other.scores.items()
    }
    assert [
        (weighted.name, weighted.weight, weighted.scorer.type)
        for weighted in timed.profiles["default"].scorers
    ] == [
        ("q", 2, "queue-scorer"),
        ("a", 0.5, "active-request-scorer"),
    ]
    assert timed.profiles["default"].picker.type == "max-score-picker"


def test_every_call_is_told_once_under_the_plugins_name() -> None:
    """Extension point, type and name make the series; the seconds are the clock's."""
    book, ticks = Book(), itertools.count()
    timed = observed(
        Scheduler.of((Weighted("mine", QueueScorer(), 1),), MaxScorePicker()),
        book.series,
        lambda: float(next(ticks)),
    )
    timed.pick(REQUEST, FACTS)
    timed.pick(REQUEST, FACTS)
    assert book.seconds == {
        ("Scorer", "queue-scorer", "mine"): [1.0, 1.0],
        ("Picker", "max-score-picker", "max-score-picker"): [1.0, 1.0],
    }


def test_a_call_that_fails_is_told_too_and_fails_as_before() -> None:
    """The wrapper hides no error."""
    book = Book()
    timed = observed(Scheduler.of((Weighted("f", Failing(), 1),), Failing()), book.series, lambda: 0.0)
    with pytest.raises(RuntimeError, match="no score"):
        timed.pick(REQUEST, FACTS)
    with pytest.raises(RuntimeError, match="no pick"):
        timed.profiles["default"].picker.pick(np.zeros(2), NO_FACTS)
    assert book.seconds == {("Scorer", "failing", "f"): [0.0], ("Picker", "failing", "failing"): [0.0]}


class Odd:
    """A scorer whose scores are what it is given."""

    type = "odd"

    def __init__(self, *scores: float) -> None:
        self._scores = np.array(scores)

    def score(self, _request: Request, _facts: Facts, /) -> Column:
        """Return them."""
        return self._scores.copy()


@pytest.mark.parametrize(
    ("scores", "counted"), [((0.0, 1.0), 0), ((0.5, 1.5), 1), ((-1.0, 0.0), 1), ((np.nan, 1.0), 1)]
)
def test_columns_that_have_to_be_clamped_are_counted(scores: tuple[float, float], counted: int) -> None:
    """NaN counts as 0, once per column; the pick goes on."""
    failures: list[tuple[str, str, str]] = []
    plain = Scheduler.of((Weighted("mine", Odd(*scores), 1.0),), MaxScorePicker())
    timed = observed(plain, Book().series, lambda: 0.0, lambda *what: failures.append(what))
    choice = timed.pick(REQUEST, FACTS)
    assert failures == [("odd", "mine", "score")] * counted
    assert all(0 <= score <= 1 for score in choice.scores["mine"])


async def test_producers_are_timed() -> None:
    """Those that take their time, too; what they say is passed on."""

    class Sync:
        type = "sync"

        def produce(self, _request: Request, _facts: Facts, /) -> dict[str, int]:
            return {"A": 1}

    class Async:
        type = "async"

        async def produce(self, _request: Request, _facts: Facts, /) -> dict[str, int]:
            return {"B": 2}

    plugins = Instances(producers=((Producing("s", Sync()), Producing("a", Async(), waits=True)),))
    book, ticks = Book(), itertools.count()
    timed = observed(Scheduler({}, plugins=plugins), book.series, lambda: float(next(ticks)))
    ((sync, late),) = timed.plugins.producers
    assert sync.producer.produce(REQUEST, FACTS) == {"A": 1}
    found = late.producer.produce(REQUEST, FACTS)
    assert not isinstance(found, Mapping)
    assert await found == {"B": 2}
    assert late.waits
    assert book.seconds == {("DataProducer", "sync", "s"): [1.0], ("DataProducer", "async", "a"): [1.0]}
