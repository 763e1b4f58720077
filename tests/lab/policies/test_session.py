"""Sessions stay where they began while that is possible."""

from __future__ import annotations

from igw.lab.policies.session import SessionStickiness
from tests.lab.policies.candidates import Clock, endpoints, facts, request, setting


def test_a_session_stays_and_a_new_one_goes_to_the_least_loaded() -> None:
    """However busy its endpoint has become."""
    policy = SessionStickiness(setting())
    mine = request(headers={"x-session-id": "mine"})
    assert policy.pick(mine, facts([2, 0, 1])).picked == [1, 2]
    choice = policy.pick(mine, facts([0, 90, 3]))
    assert choice.picked == [1, 0]
    assert list(choice.scores["session"]) == [0.0, 91.0, 0.0]
    assert policy.pick(request(headers={"x-session-id": "other"}), facts([0, 90, 3])).picked == [0, 2]


def test_a_request_without_a_session_is_bound_to_nothing() -> None:
    """It goes to the least loaded, every time."""
    policy = SessionStickiness(setting())
    assert policy.pick(request(), facts([1, 0])).picked[0] == 1
    assert policy.pick(request(), facts([1, 2])).picked[0] == 0


def test_a_session_moves_for_good_when_its_endpoint_is_no_candidate() -> None:
    """It does not go back when that one returns."""
    policy, (first, second, third) = SessionStickiness(setting()), endpoints(3)
    mine = request(headers={"x-session-id": "mine"})
    assert policy.pick(mine, facts([0, 1, 1], at=(first, second, third))).picked[0] == 0
    assert policy.pick(mine, facts([1, 0], at=(second, third))).picked[0] == 1
    assert policy.pick(mine, facts([0, 0, 9], at=(first, second, third))).picked[0] == 2


def test_a_session_idle_for_five_minutes_is_forgotten() -> None:
    """Use prolongs it."""
    clock = Clock()
    policy = SessionStickiness(setting(clock=clock))
    mine = request(headers={"x-session-id": "mine"})
    assert policy.pick(mine, facts([0, 1])).picked[0] == 0
    for clock.now in (300.0, 600.0):
        assert policy.pick(mine, facts([1, 0])).picked[0] == 0
    clock.now = 901.0
    assert policy.pick(mine, facts([1, 0])).picked[0] == 1
    assert len(policy._bound) == 1
