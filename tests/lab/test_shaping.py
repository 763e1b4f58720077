"""Workloads made of workloads keep what they should keep."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.lab import shaping
from igw.lab.blocks import size, started
from igw.lab.content import block_hashes
from igw.lab.workload import Session, Turn, Workload

SPAWNED = st.builds(
    lambda count: Session("agent", tuple(Turn(32, 8, ((500 + n, 3),)) for n in range(count)), 1.5),
    st.integers(1, 2),
)
TURNS = st.builds(
    lambda prompt, output, first, think, spawns: Turn(
        prompt, output, ((first, started(prompt + output, 16)),), think, tuple(spawns)
    ),
    st.integers(1, 200),
    st.integers(1, 50),
    st.integers(0, 100),
    st.floats(0, 10),
    st.lists(SPAWNED, max_size=1),
)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Sessions in order of time, some of them with agents alongside."""
    starts = sorted(draw(st.lists(st.floats(0, 100), min_size=1, max_size=8)))
    sessions = tuple(
        Session(f"s{number}", tuple(draw(st.lists(TURNS, min_size=1, max_size=4))), start)
        for number, start in enumerate(starts)
    )
    return Workload("made", 16, sessions, 3.0)


def evenly(count: int, gap: float = 1.0) -> Workload:
    """Return single requests, one after another."""
    turn = Turn(20, 5, ((0, 2),))
    return Workload("even", 16, tuple(Session(f"s{n}", (turn,), n * gap) for n in range(count)), 3.0)


def starts(workload: Workload) -> list[float]:
    """Return when sessions start."""
    return [session.start_seconds for session in workload.sessions]


def bodies(workload: Workload) -> list[tuple[str, tuple[Turn, ...]]]:
    """Return everything but when sessions start."""
    return [(session.id, session.turns) for session in workload.sessions]


@given(workloads(), st.floats(0.1, 10))
def test_scaling_keeps_sessions_and_their_order(workload: Workload, factor: float) -> None:
    """Only the times of starts are divided; think times are people's own."""
    scaled = shaping.scaled(workload, factor)
    assert bodies(scaled) == bodies(workload)
    assert starts(scaled) == pytest.approx([at / factor for at in starts(workload)])
    assert scaled.quantum_seconds == pytest.approx(3.0 / factor)


@given(workloads(), st.integers(0, 20))
def test_cutting_keeps_the_first_requests(workload: Workload, requests: int) -> None:
    """Exactly as many as were asked for, or all."""
    cut = shaping.cut(workload, requests=requests)
    assert len(list(cut.turns())) == min(requests, len(list(workload.turns())))
    assert [each.id for each in cut.sessions] == [each.id for each in workload.sessions][: len(cut.sessions)]
    for shorter, whole in zip(cut.sessions[:-1], workload.sessions, strict=False):
        assert shorter == whole


@given(workloads(), st.floats(0, 110))
def test_cutting_by_time_keeps_sessions_whole(workload: Workload, seconds: float) -> None:
    """Those that start before it."""
    kept = [session for session in workload.sessions if session.start_seconds < seconds]
    assert list(shaping.cut(workload, seconds=seconds).sessions) == kept


@given(workloads(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_thinning_keeps_sessions_whole(workload: Workload, one: float, other: float, seed: int) -> None:
    """And a smaller share is a part of a larger one."""
    less, more = (shaping.thinned(workload, share, seed).sessions for share in sorted((one, other)))
    assert set(map(id, more)) <= set(map(id, workload.sessions))
    assert set(map(id, less)) <= set(map(id, more))
    assert shaping.thinned(workload, 1.0, seed) == workload


def test_thinning_keeps_about_the_share() -> None:
    """Of many sessions."""
    assert 240 < len(shaping.thinned(evenly(1000), 0.27, 3).sessions) < 300


@given(workloads(), st.integers(0, 5))
def test_jitter_stays_within_the_quantum(workload: Workload, seed: int) -> None:
    """Each start moves forward by less than what times were rounded to; the order is that of the new times."""
    moved = shaping.jittered(workload, seed)
    before = {session.id: session.start_seconds for session in workload.sessions}
    assert starts(moved) == sorted(starts(moved))
    assert sorted(bodies(moved), key=str) == sorted(bodies(workload), key=str)
    assert all(0 <= each.start_seconds - before[each.id] <= 3.0 for each in moved.sessions)
    assert moved == shaping.jittered(workload, seed)


def test_exact_times_move_very_little() -> None:
    """Enough for two seeds to differ."""
    exact = shaping.jittered(evenly(50), 0)
    again = shaping.jittered(exact, 1)
    assert 0 < max(b - a for a, b in zip(starts(exact), starts(again), strict=True)) < 0.05
    assert starts(again) != starts(shaping.jittered(exact, 2))


@given(workloads(), st.floats(0.2, 3), st.floats(0.2, 3))
def test_a_ramp_keeps_sessions_and_their_order(workload: Workload, start: float, end: float) -> None:
    """And ends as soon as the mean rate allows."""
    ramped = shaping.ramped(workload, start, end)
    assert bodies(ramped) == bodies(workload)
    assert starts(ramped) == sorted(starts(ramped))
    assert starts(ramped)[-1] == pytest.approx(starts(workload)[-1] * 2 / (start + end), abs=1e-6)


def test_a_ramp_rises_evenly() -> None:
    """From half of the rate to three halves: the second half of the time has 1.25 times as many as at a steady rate."""
    at = starts(shaping.ramped(evenly(10_001), 0.5, 1.5))
    assert at[-1] == pytest.approx(10_000)
    assert sum(each > 5000 for each in at) == pytest.approx(6250, abs=2)
    assert at[1] - at[0] == pytest.approx(2.0, rel=0.01)
    assert at[-1] - at[-2] == pytest.approx(1 / 1.5, rel=0.01)


def test_a_ramp_between_equal_rates_is_scaling() -> None:
    """No division by zero."""
    assert shaping.ramped(evenly(5), 2.0, 2.0) == shaping.scaled(evenly(5), 2.0)


@pytest.mark.parametrize("cv", [1.0, 4.0])
def test_bursts_have_the_coefficient_of_variation_asked_for(cv: float) -> None:
    """And keep count, order and length."""
    before = evenly(20_000)
    after = shaping.bursty(before, cv, 1)
    at = starts(after)
    gaps = [b - a for a, b in pairwise(at)]
    assert bodies(after) == bodies(before)
    assert at[-1] == pytest.approx(19_999)
    assert pstdev(gaps) / mean(gaps) == pytest.approx(cv, rel=0.1)


@given(workloads(), workloads())
def test_merged_workloads_share_nothing(one: Workload, other: Workload) -> None:
    """All sessions of both, by time, with ids of their own; within a part everything is as it was."""
    both = shaping.merged("both", one, other)
    assert starts(both) == sorted(starts(one) + starts(other))
    assert len({session.id for session in both.sessions}) == len(both.sessions)
    ids = [
        {each for turn in Workload("", 16, sessions).turns() for each in block_hashes(turn, 16, 16)}
        for sessions in (
            tuple(each for each in both.sessions if each.id.startswith("made-0/")),
            tuple(each for each in both.sessions if each.id.startswith("made-1/")),
        )
    ]
    assert not ids[0] & ids[1]
    assert len(ids[0]) == len({each for turn in one.turns() for each in block_hashes(turn, 16, 16)})


def test_workloads_with_other_blocks_can_be_merged() -> None:
    """Written in the largest blocks that fit both."""
    coarse = Workload("coarse", 64, (Session("a", (Turn(100, 20, ((3, 2),)),)),))
    both = shaping.merged("both", coarse, evenly(2))
    assert both.block_tokens == 16
    assert both.sessions[0].turns[0].runs == ((12, 8),)


@given(workloads(), st.sampled_from([2, 4, 8, 16]))
def test_smaller_blocks_say_the_same(workload: Workload, block_tokens: int) -> None:
    """What engines see does not change, and every started block has an id."""
    finer = shaping.reblocked(workload, block_tokens)
    for before, after in zip(workload.turns(), finer.turns(), strict=True):
        assert block_hashes(before, 16, 2) == block_hashes(after, block_tokens, 2)
        assert size(after.runs) == started(after.prompt_tokens + after.output_tokens, block_tokens)


@given(workloads(), st.integers(20, 300))
def test_a_limit_cuts_sessions_where_they_grow_too_long(workload: Workload, limit: int) -> None:
    """Everything that is left fits, and what was cut begins with a request that does not."""
    kept = {session.id: session for session in shaping.limited(workload, limit).sessions}
    assert all(t.prompt_tokens + t.output_tokens <= limit for s in kept.values() for t in s.turns)
    for session in workload.sessions:
        left = len(kept[session.id].turns) if session.id in kept else 0
        if left < len(session.turns):
            turn = session.turns[left]
            assert turn.prompt_tokens + turn.output_tokens > limit


@given(workloads(), st.integers(20, 300))
def test_a_limit_can_leave_out_whole_sessions(workload: Workload, limit: int) -> None:
    """Those that would have to be cut, by an agent of theirs too."""
    kept = {session.id for session in shaping.limited(workload, limit, whole=True).sessions}
    for session in workload.sessions:
        turns = Workload("", 16, (session,)).turns()
        fits = all(turn.prompt_tokens + turn.output_tokens <= limit for turn in turns)
        assert (session.id in kept) == fits


@pytest.mark.parametrize(
    "call",
    [
        lambda w: shaping.scaled(w, 0),
        lambda w: shaping.thinned(w, 1.5, 0),
        lambda w: shaping.bursty(w, -1, 0),
        lambda w: shaping.ramped(w, 1.0, float("nan")),
        lambda w: shaping.reblocked(w, 7),
        lambda _: shaping.merged("none"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(call) -> None:  # type: ignore[no-untyped-def]
    """With a sentence."""
    with pytest.raises(ValueError, match=r"[a-z]{4}"):
        call(evenly(3))


def test_no_sessions_are_no_problem() -> None:
    """Of a workload that was cut to nothing."""
    nothing = Workload("nothing", 16, ())
    assert shaping.bursty(nothing, 2.0, 0).sessions == ()
    assert shaping.ramped(nothing, 0.5, 1.5).sessions == ()
    assert shaping.jittered(nothing, 0).sessions == ()
