"""How much a pool can take: found by offering more."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from igw.lab.capacity import TTFT_SECONDS, capacity, median_ttft
from igw.lab.records import Fate, Record, Run
from igw.lab.scenario import DEFAULT_SERVERS
from igw.lab.workload import Session, Turn, Workload

ONE = (replace(DEFAULT_SERVERS[0], replicas=1),)


def steady(rate: float) -> Workload:
    """Return prompts of 8,000 tokens, evenly, for a hundred seconds."""
    sessions = tuple(
        Session(f"s{n}", (Turn(8000, 20, ((n * 20, 16),)),), n / rate) for n in range(int(100 * rate))
    )
    return Workload("steady", 512, sessions)


def test_the_rate_found_is_the_last_one_that_is_kept_up_with() -> None:
    """Half of the requests have their first token in time at it, and no longer at a little more."""
    found = capacity(steady, ONE, 0.5, policy="round-robin")
    kept = {rate for rate, seconds in found.tried if seconds <= TTFT_SECONDS}
    missed = {rate for rate, seconds in found.tried if seconds > TTFT_SECONDS}
    assert found.rate == max(kept)
    assert found.rate < min(missed) <= found.rate * 1.03
    assert 1.0 < found.rate < 4.0  # such a prompt takes about half a second on two H100


def test_a_start_that_is_too_high_is_refused() -> None:
    """There is nothing below it to search."""
    with pytest.raises(ValueError, match="does not even keep up with 50 requests per second: start lower"):
        capacity(steady, ONE, 50.0, policy="round-robin")


def test_load_that_never_grows_is_refused() -> None:
    """Instead of a search without end."""
    with pytest.raises(ValueError, match="keeps up even with"):
        capacity(lambda _: steady(0.1), ONE, 1.0, policy="round-robin")


def test_an_answer_that_never_came_took_for_ever() -> None:
    """And the warm-up is left out."""
    records = tuple(
        Record("s", "", fate, 0, 0.0, 0.0, 0.0, ttft, ttft, 1, 1, 0, warmup)
        for fate, ttft, warmup in (
            (Fate.COMPLETE, 1.0, False),
            (Fate.COMPLETE, 3.0, False),
            (Fate.LOST, 0.0, False),
            (Fate.COMPLETE, 0.1, True),
            (Fate.COMPLETE, 0.1, True),
        )
    )
    assert median_ttft(Run("p", 0, records, (), (), 1.0, 1)) == 3.0
