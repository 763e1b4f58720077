"""What a policy gave away, on records written by hand."""

from __future__ import annotations

import math

import pytest

from igw.lab.records import Fate, Record, Run
from igw.lab.regret import achieved, paired, regret


def record(
    session: str, arrived: float, ttft: float, e2e: float, fate: Fate = Fate.COMPLETE, warmup: bool = False
) -> Record:
    """Return a request of 100 prompt and 10 output tokens."""
    return Record(session, "", fate, 0, arrived, 0.0, 0.0, ttft, e2e, 100, 10, 0, warmup)


def run(*records: Record, seed: int = 1) -> Run:
    """Return a run of *records*."""
    return Run("p", seed, records, (), (), 100.0, 1)


def test_regret_is_the_mean_difference_over_the_same_requests() -> None:
    """Two requests: 2 s and 1 s against 1 s and 1.5 s to the first token; 5 and 6 s against 4 and 3 s in all."""
    policy = run(record("a", 0.0, 2.0, 5.0), record("b", 1.0, 1.0, 6.0))
    bound = run(record("b", 1.0, 1.5, 3.0), record("a", 0.0, 1.0, 4.0))
    found = regret(policy, bound)
    assert found.requests == 2
    assert (found.ttft_seconds, found.e2e_seconds, found.worse_share) == (0.25, 2.0, 0.5)
    assert (found.ttft_ratio, found.e2e_ratio) == (3.0 / 2.5, 11.0 / 7.0)


def test_turns_of_a_session_are_paired_in_their_order() -> None:
    """Whatever was lost on the way: the second one completed is the second turn."""
    policy = [record("a", 9.0, 3.0, 4.0), record("a", 0.0, 1.0, 2.0), record("a", 5.0, 0.0, 1.0, Fate.LOST)]
    bound = [record("a", 0.0, 0.5, 1.0), record("a", 2.0, 0.7, 1.0), record("a", 4.0, 0.9, 1.0)]
    assert [(a.ttft_seconds, b.ttft_seconds) for a, b in paired(policy, bound)] == [(1.0, 0.5), (3.0, 0.7)]


def test_what_counts_in_neither_run_counts_nowhere() -> None:
    """Warm-up, unfinished, and what only one of the two answered; nothing left is not zero."""
    policy = run(
        record("w", 0.0, 9.0, 9.0, warmup=True),
        record("u", 1.0, 0.0, 9.0, Fate.UNFINISHED),
        record("x", 2.0, 1.0, 1.0),
    )
    bound = run(
        record("w", 0.0, 1.0, 1.0, warmup=True), record("u", 1.0, 1.0, 1.0), record("y", 2.0, 1.0, 1.0)
    )
    found = regret(policy, bound)
    assert found.requests == 0
    assert math.isnan(found.ttft_seconds)
    assert math.isnan(found.e2e_ratio)


def test_different_seeds_cannot_be_compared() -> None:
    """Their requests are different ones."""
    with pytest.raises(ValueError, match="seed 1 and p with seed 2"):
        regret(run(), run(seed=2))


def test_a_run_has_no_regret_against_itself() -> None:
    """And achieves all of it."""
    one = run(record("a", 0.0, 2.0, 5.0), record("b", 1.0, 1.0, 6.0))
    found = regret(one, one)
    assert (found.ttft_seconds, found.e2e_seconds, found.worse_share, found.ttft_ratio) == (
        0.0,
        0.0,
        0.0,
        1.0,
    )


@pytest.mark.parametrize(("value", "best", "share"), [(0.3, 0.6, 0.5), (0.6, 0.6, 1.0), (0.0, 0.5, 0.0)])
def test_achieved_is_a_share_of_the_best(value: float, best: float, share: float) -> None:
    """Of a goodput, of a hit ratio."""
    assert achieved(value, best) == share
    assert math.isnan(achieved(value, 0.0))
