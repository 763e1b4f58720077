"""Sessions dealt out to people who take one after another."""

from __future__ import annotations

import pytest

from igw.lab.users import with_users
from igw.lab.workload import Session, Turn, Workload


def sessions(count: int, turns: int = 3) -> Workload:
    """Return sessions whose turns are told apart by their prompt's length."""
    made = tuple(
        Session(f"s{n}", tuple(Turn(100 * n + t + 1, 10, ((n, 1),), 2.0 * t) for t in range(turns)), 7.0 * n)
        for n in range(count)
    )
    return Workload("made", 16, made)


def test_every_session_is_worked_through_once_and_in_one_piece() -> None:
    """Its turns follow one another in their order."""
    people = with_users(sessions(20), 4, seed=1)
    assert len(people.sessions) == 4
    lengths = [turn.prompt_tokens for person in people.sessions for turn in person.turns]
    assert sorted(lengths) == sorted(turn.prompt_tokens for turn in sessions(20).turns())
    starts = [length for length in lengths if length % 100 == 1]
    at = {length: lengths.index(length) for length in starts}
    assert all(lengths[at[s] : at[s] + 3] == [s, s + 1, s + 2] for s in starts)


def test_a_pause_comes_before_each_next_session() -> None:
    """Think times within a session stay as they are."""
    (person,) = with_users(sessions(3), 1, seed=0, pause_seconds=10.0).sessions
    assert [turn.think_seconds for turn in person.turns] == [0.0, 2.0, 4.0, 10.0, 2.0, 4.0, 10.0, 2.0, 4.0]


def test_people_start_one_after_another() -> None:
    """Within the spread, in order of time."""
    starts = [
        person.start_seconds for person in with_users(sessions(30), 10, 2, spread_seconds=40.0).sessions
    ]
    assert starts == sorted(starts)
    assert len(set(starts)) == 10
    assert max(starts) < 40.0


def test_work_is_dealt_to_whoever_is_free_first() -> None:
    """So nobody has much more to do than the others."""
    amounts = [len(person.turns) for person in with_users(sessions(40), 4, seed=3).sessions]
    assert max(amounts) - min(amounts) <= 6


def test_a_seed_decides_who_gets_what() -> None:
    """And nothing else does."""
    assert with_users(sessions(10), 3, 1) == with_users(sessions(10), 3, 1)
    assert with_users(sessions(10), 3, 1) != with_users(sessions(10), 3, 2)


def test_there_are_not_more_people_than_sessions() -> None:
    """Nobody sits idle."""
    assert len(with_users(sessions(2), 5, 0).sessions) == 2


@pytest.mark.parametrize(("count", "users"), [(0, 1), (3, 0)])
def test_nobody_or_nothing_is_refused(count: int, users: int) -> None:
    """A closed loop needs both."""
    with pytest.raises(ValueError, match="at least one user and one session"):
        with_users(sessions(count), users, 0)
