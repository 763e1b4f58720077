"""The scheduler: weighted sums, handed to a picker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from igw.errors import NobodyLeft, TooLarge
from igw.facts import Column, Facts
from igw.request import Head, Request
from igw.scheduling.api import Mask, Ranking
from igw.scheduling.profile import Filtering, Profile, Weighted
from igw.scheduling.scheduler import Scheduler

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

    def pick(self, totals: Column, _facts: Facts, /) -> Sequence[int]:
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
    choice = Scheduler.of(weighted, picker).pick(REQUEST, facts(2))
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
    choice = Scheduler.of((), picker).pick(REQUEST, facts(3))
    assert picker.totals == [0, 0, 0]
    assert choice.picked == [2]
    assert choice.scores == {}


def test_a_picker_may_spoil_the_totals_but_not_the_scores() -> None:
    """Scorers hand out columns that others read; the sum is a new one."""
    scorer = Fixed(1, 0.5)
    choice = Scheduler.of((Weighted("a", scorer, 1),), Remembering()).pick(REQUEST, facts(2))
    assert choice.scores["a"].tolist() == [1, 0.5]
    assert scorer.scores.tolist() == [1, 0.5]


class Only:
    """A filter that keeps the candidates it was told, and notes how many it saw."""

    type = "only"

    def __init__(self, *keep: bool) -> None:
        self.mask = np.array(keep)
        self.saw = -1

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Return the mask."""
        self.saw = len(facts.inflight)
        return self.mask


class Handler:
    """A handler that asks for what it was told, one list after another, and then for nothing."""

    type = "handler"

    def __init__(self, primary: str, *wanted: list[str]) -> None:
        self.first = primary
        self.wanted = list(wanted)

    def choose(
        self, _request: Request, _profiles: Mapping[str, Profile], _done: Mapping[str, Ranking | None], /
    ) -> Sequence[str]:
        """Return the next list."""
        return self.wanted.pop(0) if self.wanted else []

    def primary(self, _request: Request, _done: Mapping[str, Ranking | None], /) -> str:
        """Return the name it was told."""
        return self.first


def test_what_is_out_of_range_is_clamped_and_nan_counts_nothing() -> None:
    """One plugin's mistake does not poison the sum of the others."""
    picker = Remembering()
    scorers = (Weighted("bad", Fixed(np.nan, 7, -3), 2), Weighted("good", Fixed(0.5, 0.25, 1), 1))
    Scheduler.of(scorers, picker).pick(REQUEST, facts(3))
    assert picker.totals == [0.5, 2.25, 1]


def test_filters_narrow_one_after_another_and_indices_stay_those_of_all_candidates() -> None:
    """The second sees what the first has left; scores of those left out are unknown, and who left them out is told."""
    first, second, picker = Only(True, False, True, True), Only(True, True, False), Remembering()
    profile = Profile(
        (Weighted("a", Fixed(1, 0.5), 2),), picker, (Filtering("one", first), Filtering("two", second))
    )
    choice = Scheduler({"default": profile}).pick(REQUEST, facts(4))
    assert (first.saw, second.saw) == (4, 3)
    assert picker.totals == [2, 1]
    assert list(choice.picked) == [2]
    assert choice.left_out == {"one": [1], "two": [3]}
    np.testing.assert_array_equal(choice.scores["a"], [2, np.nan, 1, np.nan])


def test_a_filter_that_keeps_everybody_costs_nothing_and_is_not_told() -> None:
    """The columns are handed on as they are."""
    profile = Profile((), Remembering(), (Filtering("all", Only(True, True)),))
    assert Scheduler({"default": profile}).pick(REQUEST, facts(2)).left_out == {}


def test_nobody_left_is_a_429_that_says_where() -> None:
    """Upstream's status and reason."""
    profile = Profile((), Remembering(), (Filtering("none", Only(False, False)),))
    with pytest.raises(NobodyLeft, match="after the filters of scheduling profile `strict`") as caught:
        Scheduler({"strict": profile}).pick(REQUEST, facts(2))
    assert (caught.value.status, caught.value.reason) == (429, "rejected-saturated")


def test_a_handler_runs_profiles_in_steps_and_names_the_one_that_decides() -> None:
    """What every profile came to is in the choice; a profile runs once however often it is asked for."""
    profiles = {
        "decode": Profile((), Remembering()),
        "prefill": Profile((), Remembering(), (Filtering("first", Only(True, False)),)),
        "encode": Profile((), Remembering(), (Filtering("none", Only(False, False)),)),
    }
    handler = Handler("decode", ["decode"], ["prefill", "decode"], ["encode"], ["decode"])
    choice = Scheduler(profiles, handler).pick(REQUEST, facts(2))
    assert list(choice.picked) == [1]
    assert [*choice.profiles] == ["decode", "prefill", "encode"]
    assert choice.profiles["encode"] is None
    assert (ranking := choice.profiles["prefill"]) is not None
    assert list(ranking.picked) == [0]


def test_a_handler_without_a_profile_for_a_request_is_a_429_too() -> None:
    """As upstream: no profile was run."""
    with pytest.raises(NobodyLeft, match="no scheduling profile `other`"):
        Scheduler({"default": Profile((), Remembering())}, Handler("other")).pick(REQUEST, facts(1))


def test_an_admitter_may_turn_a_request_away() -> None:
    """With its own answer, before anything is ranked."""

    class Shut:
        type = "shut"

        def admit(self, _request: Request, _facts: Facts, /) -> None:
            raise TooLarge("not today")

    profile = Profile((), Remembering())
    with pytest.raises(TooLarge, match="not today"):
        Scheduler({"default": profile}, admitters=(Shut(),)).pick(REQUEST, facts(1))
