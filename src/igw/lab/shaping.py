"""Workloads made of workloads: at another rate, shorter, thinner, with other arrivals, put together.

Every function is pure: the same arguments, the same workload, and what it was given stays as it is. Reading files is in `traces`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from math import gcd, inf, sqrt
from operator import attrgetter
from random import Random

from msgspec.structs import replace

from igw.lab import blocks
from igw.lab.workload import Session, Turn, Workload

LEAST_JITTER_SECONDS = 0.05
"""Spread of arrivals whose times are exact: enough for two seeds to differ, too little to change a burst."""

_start = attrgetter("start_seconds")


def scaled(workload: Workload, factor: float) -> Workload:
    """Return sessions that start *factor* times as often; think times stay. ValueError unless positive."""
    _positive("factor", factor)
    warped = _warped(workload, lambda at: at / factor)
    return replace(warped, quantum_seconds=workload.quantum_seconds / factor)


def cut(workload: Workload, seconds: float = inf, requests: int | None = None) -> Workload:
    """Return the sessions that start before *seconds*, and of them the first *requests* requests.

    Sessions stay whole but for the last one, which ends when the count is reached.
    """
    kept: list[Session] = []
    left = requests
    for session in workload.sessions:
        if session.start_seconds >= seconds or left == 0:
            break
        if left is None:
            kept.append(session)
            continue
        shorter, left = _first_requests(session, left)
        kept.append(shorter)
    return replace(workload, sessions=tuple(kept))


def thinned(workload: Workload, share: float, seed: int) -> Workload:
    """Return about *share* of the sessions, whole. With one seed a smaller share is a part of a larger one."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share}: give a number from 0 to 1")
    kept = (each for each in workload.sessions if Random(f"{seed}/{each.id}").random() < share)
    return replace(workload, sessions=tuple(kept))


def jittered(workload: Workload, seed: int) -> Workload:
    """Return *workload* with each start moved forward by chance, within what its times were rounded to.

    Starts that were not rounded move by at most `LEAST_JITTER_SECONDS`.
    """
    rng = Random(f"jitter/{seed}")
    spread = workload.quantum_seconds or LEAST_JITTER_SECONDS
    moved = (
        replace(each, start_seconds=each.start_seconds + spread * rng.random()) for each in workload.sessions
    )
    return replace(workload, sessions=_ordered(moved), quantum_seconds=0.0)


def ramped(workload: Workload, start: float, end: float) -> Workload:
    """Return *workload* at a rate that goes evenly from *start* to *end* times its own; count and order stay."""
    _positive("start", start)
    _positive("end", end)
    if start == end:
        return scaled(workload, start)
    length = 2 * _length(workload) / (start + end)  # the area below the rate is the number of arrivals
    slope = (end - start) / length if length else 0.0

    def later(at: float) -> float:
        # Solves start * u + slope * u^2 / 2 = at, in a form that does not cancel.
        return 2 * at / (start + sqrt(max(0.0, start * start + 2 * slope * at))) if at else 0.0

    return _warped(workload, later)


def bursty(workload: Workload, cv: float, seed: int) -> Workload:
    """Return *workload* with gaps between starts drawn anew from a gamma distribution; count, order, length stay.

    *cv* is the coefficient of variation: 1 is Poisson, 3 to 5 is what bursty services show.
    """
    _positive("cv", cv)
    rng, shape = Random(f"bursts/{seed}"), 1 / (cv * cv)
    gaps = [rng.gammavariate(shape, cv * cv) for _ in workload.sessions[1:]]
    first = workload.sessions[0].start_seconds if workload.sessions else 0.0
    unit = (_length(workload) - first) / (sum(gaps) or 1.0)
    at, moved = first, list(workload.sessions[:1])
    for session, gap in zip(workload.sessions[1:], gaps, strict=True):
        at += gap * unit
        moved.append(replace(session, start_seconds=at))
    return replace(workload, sessions=tuple(moved), quantum_seconds=0.0)


def merged(name: str, *workloads: Workload) -> Workload:
    """Return all *workloads* at once. They share no text; ids of sessions get their workload's name before them."""
    if not workloads:
        raise ValueError("nothing to merge")
    size = gcd(*(each.block_tokens for each in workloads))
    parts = [
        _apart(reblocked(each, size), number, f"{each.name}-{number}" if len(workloads) > 1 else "")
        for number, each in enumerate(workloads)
    ]
    sessions = tuple(heapq.merge(*(part.sessions for part in parts), key=_start))
    return Workload(name, size, sessions, max(each.quantum_seconds for each in workloads))


def limited(workload: Workload, context_tokens: int, *, whole: bool = False) -> Workload:
    """Return what fits into a context: each session ends before its first request (prompt and answer) that does not.

    *whole* leaves out sessions that would have to be cut. Sessions without a request left are left out.
    """
    kept = (_within(session, context_tokens, whole=whole) for session in workload.sessions)
    return replace(workload, sessions=tuple(each for each in kept if each is not None and each.turns))


def reblocked(workload: Workload, block_tokens: int) -> Workload:
    """Return *workload* written in smaller blocks, saying the same; ValueError unless they divide the present ones."""
    parts, rest = divmod(workload.block_tokens, block_tokens)
    if rest:
        raise ValueError(
            f"blocks of {workload.block_tokens} tokens cannot be cut into blocks of {block_tokens}"
        )
    if parts == 1:
        return workload

    def finer(turn: Turn) -> Turn:
        count = blocks.started(turn.prompt_tokens + turn.output_tokens, block_tokens)
        return replace(turn, runs=blocks.between(blocks.finer(turn.runs, parts), 0, count))

    sessions = tuple(_each_turn(session, finer) for session in workload.sessions)
    return replace(workload, block_tokens=block_tokens, sessions=sessions)


def _positive(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise ValueError(f"{name} {value}: give a number above 0")


def _length(workload: Workload) -> float:
    return workload.sessions[-1].start_seconds if workload.sessions else 0.0


def _ordered(sessions: Iterable[Session]) -> tuple[Session, ...]:
    return tuple(sorted(sessions, key=_start))


def _warped(workload: Workload, warp: Callable[[float], float]) -> Workload:
    """Return *workload* with the starts of its sessions changed by *warp*, which never swaps two."""
    moved = (replace(each, start_seconds=warp(each.start_seconds)) for each in workload.sessions)
    return replace(workload, sessions=tuple(moved))


def _first_requests(session: Session, count: int) -> tuple[Session, int]:
    """Return *session* with its first *count* requests at most, spawned ones counted, and how many of them are left."""
    turns: list[Turn] = []
    for turn in session.turns:
        if not count:
            break
        count -= 1
        spawns: list[Session] = []
        for spawned in turn.spawns:
            if count:
                shorter, count = _first_requests(spawned, count)
                spawns.append(shorter)
        turns.append(replace(turn, spawns=tuple(spawns)))
    return replace(session, turns=tuple(turns)), count


def _within(session: Session, context_tokens: int, *, whole: bool) -> Session | None:
    """Return what of *session* fits; None if it does not fit whole and has to."""
    turns: list[Turn] = []
    for turn in session.turns:
        if turn.prompt_tokens + turn.output_tokens > context_tokens:
            if whole:
                return None
            break
        spawns = tuple(_within(spawned, context_tokens, whole=whole) for spawned in turn.spawns)
        if whole and None in spawns:
            return None
        turns.append(replace(turn, spawns=tuple(each for each in spawns if each is not None and each.turns)))
    return replace(session, turns=tuple(turns))


def _each_turn(session: Session, change: Callable[[Turn], Turn]) -> Session:
    """Return *session* with *change* applied to every turn, those of spawned sessions included."""
    turns = (
        replace(change(turn), spawns=tuple(_each_turn(spawned, change) for spawned in turn.spawns))
        for turn in session.turns
    )
    return replace(session, turns=tuple(turns))


def _apart(workload: Workload, number: int, prefix: str) -> Workload:
    """Return *workload* with block and session ids that no other one has."""

    def moved(turn: Turn) -> Turn:
        return replace(turn, runs=blocks.shifted(turn.runs, number * blocks.APART))

    def named(session: Session) -> Session:
        turns = (replace(turn, spawns=tuple(named(each) for each in turn.spawns)) for turn in session.turns)
        return replace(session, id=f"{prefix}/{session.id}" if prefix else session.id, turns=tuple(turns))

    return replace(workload, sessions=tuple(named(_each_turn(each, moved)) for each in workload.sessions))
