"""Round robin, random, power of two, least requests, and what they share: who wins, how ties break."""

from __future__ import annotations

from collections import Counter

import numpy as np

from igw.lab.policies.least_requests import LeastRequests
from igw.lab.policies.power_of_two import PowerOfTwo
from igw.lab.policies.random_choice import RandomChoice
from igw.lab.policies.ranking import choose
from igw.lab.policies.round_robin import RoundRobin
from tests.lab.policies.candidates import endpoints, facts, request, setting


def test_the_largest_sum_of_columns_wins_and_the_next_is_the_retry() -> None:
    """Sums are 1, 4, 3."""
    choice = choose({"a": np.array([1.0, 0.0, 2.0]), "b": np.array([0.0, 4.0, 1.0])}, setting().rng)
    assert choice.picked == [1, 2]
    assert list(choice.scores) == ["a", "b"]


def test_ties_break_by_the_runs_own_dice() -> None:
    """Every one of four equals is picked about as often, in the same order with the same seed."""
    picks = [
        [choose({"": np.zeros(4)}, rng).picked[0] for _ in range(400)]
        for rng in (setting().rng, setting().rng)
    ]
    assert picks[0] == picks[1]
    assert min(Counter(picks[0]).values()) > 60
    assert len(Counter(picks[0])) == 4


def test_round_robin_takes_turns_and_names_the_next_for_a_retry() -> None:
    """Whatever is in flight there; one candidate alone is named once."""
    policy = RoundRobin(setting())
    assert [policy.pick(request(), facts([9, 0, 0])).picked for _ in range(4)] == [
        [0, 1],
        [1, 2],
        [2, 0],
        [0, 1],
    ]
    assert policy.pick(request(), facts([1])).picked == [0]
    choice = policy.pick(request(), facts([0, 0, 0]))
    assert choice.picked[0] == int(choice.scores["turn"].argmax())


def test_round_robin_goes_on_when_candidates_come_and_go() -> None:
    """The fourth of three turns falls on the fourth of four."""
    policy = RoundRobin(setting())
    for _ in range(3):
        policy.pick(request(), facts([0, 0, 0]))
    assert policy.pick(request(), facts([0, 0, 0, 0])).picked == [3, 0]
    assert policy.pick(request(), facts([0, 0])).picked == [0, 1]


def test_random_goes_everywhere_alike() -> None:
    """However busy it is."""
    policy = RandomChoice(setting())
    counts = Counter(policy.pick(request(), facts([100, 0])).picked[0] for _ in range(400))
    assert 150 < counts[0] < 250


def test_power_of_two_takes_the_lighter_of_its_draws() -> None:
    """The busiest of three wins never, the idlest in the two of three draws that have it."""
    policy = PowerOfTwo(setting())
    counts = Counter(policy.pick(request(), facts([5, 9, 1])).picked[0] for _ in range(600))
    assert counts[1] == 0
    assert 340 < counts[2] < 460
    assert policy.pick(request(), facts([7])).picked == [0]


def test_least_requests_scans_all() -> None:
    """Among equals it draws."""
    policy = LeastRequests(setting())
    assert policy.pick(request(), facts([3, 1, 2])).picked == [1, 2]
    assert {policy.pick(request(), facts([2, 0, 0])).picked[0] for _ in range(30)} == {1, 2}


def test_equal_numbers_are_equal_endpoints() -> None:
    """What the other tests rely on when candidates come and go."""
    assert endpoints(2) == endpoints(3)[:2]
