"""Places: laws that hold whatever clients invent, in any order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from igw.telemetry.places import Places

NAMES = st.sampled_from("abcdefghijklmnop")
STEPS = st.lists(st.tuples(st.sampled_from(["seen", "answered"]), NAMES), max_size=400)
LIMIT = 4


@given(STEPS)
def test_there_are_never_more_than_the_limit(steps: list[tuple[str, str]]) -> None:
    """And only a quarter of them without any answer."""
    places: Places[str] = Places(LIMIT)
    answered: set[str] = set()
    for what, name in steps:
        if what == "seen":
            places.seen(name)
        else:
            places.answered(name)
            answered.add(name)
        named = {each for each in "abcdefghijklmnop" if each in places}
        assert len(named) == len(places) <= LIMIT
        assert len(named - answered) <= 1


@given(STEPS)
def test_nobody_is_displaced_by_who_has_fewer_answers(steps: list[tuple[str, str]]) -> None:
    """As long as nothing has faded, which these are too few for."""
    places: Places[str] = Places(LIMIT)
    places._until_fade = 10**6
    answers: Counter[str] = Counter()
    for what, name in steps:
        if what == "seen":
            places.seen(name)
            continue
        answers[name] += 1
        displaced = places.answered(name)
        if displaced is not None:
            assert answers[name] > answers[displaced]
            assert name in places
            assert displaced not in places


@given(st.lists(st.text("xyz", min_size=6), max_size=300, unique=True), st.integers(1, 4))
def test_invented_names_push_no_real_one_out(invented: list[str], real: int) -> None:
    """Each invented once, seen and even answered; the real ones were there with a few answers."""
    places: Places[str] = Places(LIMIT)
    names = [f"real-{number}" for number in range(real)]
    for name in names * 3:
        places.seen(name)
        places.answered(name)
    for name in invented:
        places.seen(name)
        places.answered(name)
    assert all(name in places for name in names)


def test_a_real_name_gets_a_place_that_inventions_took() -> None:
    """Who came first does not count, answers do."""
    places: Places[str] = Places(LIMIT)
    for number in range(100):
        places.seen(f"invented-{number}")
        places.answered(f"invented-{number}")
    assert len(places) == LIMIT
    places.answered("real")
    places.answered("real")
    assert "real" in places


def test_who_is_gone_makes_room() -> None:
    """Answers fade, so a name that nobody asks for any more loses to one that is."""
    places: Places[str] = Places(2)
    for name in ["old", "older"] * 20:
        places.answered(name)
    for _ in range(2_000):
        places.answered("new")
        places.answered("newer")
    assert "new" in places
    assert "newer" in places
    assert "old" not in places


def test_what_is_remembered_of_those_without_a_place_is_bounded() -> None:
    """A flood of names costs no memory."""
    places: Places[str] = Places(8)
    for name in map(str, range(8)):
        places.answered(name)
        places.answered(name)
    for number in range(10_000):
        places.answered(f"flood-{number}")
    assert len(places._trying) <= 32
