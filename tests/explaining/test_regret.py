"""A decision priced again by what is known once it has ended."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.explaining import recorder as recording
from igw.explaining.regret import repriced
from igw.outcomes.outcome import End
from tests.explaining.scenes import Scene, chat

COLUMN = st.lists(st.floats(0, 1e3), min_size=3, max_size=3).map(np.array)


def priced(
    backlog: list[float], prefill: list[float]
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return terms."""
    return {"backlog": np.array(backlog), "prefill": np.array(prefill), "memory": np.zeros(len(backlog))}


def test_what_was_right_by_what_was_believed_may_be_wrong_by_what_is_known() -> None:
    """Those ahead took longer than they were thought to; the other endpoint was idle."""
    found = repriced(priced([0.1, 0.5], [0.2, 0.2]), 0, np.array([3.0, 0.5]), 1.0, 1.0)
    assert found.costs.tolist() == pytest.approx([3.2, 0.7])
    assert found.seconds == pytest.approx(2.5)


def test_a_cache_that_did_not_hold_makes_the_picked_one_dearer_and_no_other() -> None:
    """Nobody has learned what the others held."""
    found = repriced(priced([0.0, 0.0], [0.1, 1.0]), 0, np.zeros(2), 15.0, 1.0)
    assert found.costs.tolist() == pytest.approx([1.5, 1.0])
    assert found.seconds == pytest.approx(0.5)


def test_a_longer_answer_counts_where_answers_are_slow() -> None:
    """The terms of the answer grow with it."""
    costs = priced([0.0, 0.0], [0.1, 0.1]) | {"decode": np.array([0.2, 0.1])}
    assert repriced(costs, 0, np.zeros(2), 1.0, 10.0).seconds == pytest.approx(1.0)


@given(COLUMN, COLUMN, COLUMN, COLUMN, st.integers(0, 2), st.floats(0.01, 10), st.floats(0, 10))
def test_regret_is_never_negative_and_none_where_all_came_as_believed(
    backlog: np.ndarray[tuple[int], np.dtype[np.float64]],
    real: np.ndarray[tuple[int], np.dtype[np.float64]],
    prefill: np.ndarray[tuple[int], np.dtype[np.float64]],
    decode: np.ndarray[tuple[int], np.dtype[np.float64]],
    picked: int,
    uncached: float,
    output: float,
) -> None:
    """And what was believed is left as it was."""
    costs = {"backlog": backlog, "prefill": prefill, "decode": decode}
    before = {name: column.copy() for name, column in costs.items()}
    assert repriced(costs, picked, real, uncached, output).seconds >= 0.0
    assert all((costs[name] == before[name]).all() for name in costs)
    best = int(sum(costs.values()).argmin())  # type: ignore[union-attr]
    assert repriced(costs, best, backlog, 1.0, 1.0).seconds == 0.0


async def test_one_decision_in_so_many_is_looked_at_again() -> None:
    """When it has ended: what was ahead of it at its endpoint took a second longer than anybody thought."""
    scene = Scene(2)
    while (last := await scene.sent()).id % recording.EVERY != recording.EVERY - 3:
        scene.end(last)
    scene.end(last)
    scene.now += 100.0
    ahead = [await scene.sent(chat(str(number) * 40_000)) for number in range(2)]
    sampled = await scene.sent(chat("z", "sampled"))
    assert ahead[0].endpoint != ahead[1].endpoint
    slow = next(each for each in ahead if each.endpoint == sampled.endpoint)
    quick = next(each for each in ahead if each.endpoint != sampled.endpoint)
    scene.now += 5.0
    scene.end(quick, ttft_seconds=0.01)
    scene.end(slow, ttft_seconds=4.0)
    scene.end(sampled, ttft_seconds=4.1)
    found = scene.asked("sampled")
    assert found.regret is not None
    assert found.regret.best == quick.endpoint.hostport
    assert 3.0 < found.regret.seconds < 5.0
    assert scene.regrets[-1] == found.regret.seconds
    assert min(each.hindsight_seconds or 0.0 for each in found.candidates) > 0.0
    assert not scene.recorder.find("sampled").ahead


async def test_where_another_endpoint_served_it_nothing_is_said() -> None:
    """Nor where it failed, or nobody knows how long it took."""
    scene = Scene(2)
    for told in (
        {"served_by": "10.9.9.9:1"},
        {"status": 503},
        {"end": End.ABORTED, "duration_seconds": None},
    ):
        scene.now += 10.0
        while (decision := await scene.sent()).id % recording.EVERY:
            scene.end(decision)
        assert scene.recorder.find(str(decision.id)).ahead
        scene.end(decision, **told)
        assert scene.asked(decision.id).regret is None
    assert scene.regrets == []
