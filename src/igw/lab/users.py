"""A closed loop of users: how sessions are dealt out to people who take one after another.

Other changes of a workload are in `shaping`.
"""

from __future__ import annotations

import heapq
from random import Random

from msgspec.structs import replace

from igw.lab.workload import Session, Turn, Workload

_TOKEN_SECONDS = 0.02
"""About one output token: only to guess who is free first when sessions are dealt out."""


def with_users(
    workload: Workload, users: int, seed: int, *, spread_seconds: float = 60.0, pause_seconds: float = 10.0
) -> Workload:
    """Return *workload* as *users* who each work through their share of the sessions, one session after another.

    Sessions are shuffled and dealt to whoever would be free first. A user is one long session and a tenant (so both names are the user's): its first
    request comes by chance within *spread_seconds*, and *pause_seconds* pass between the end of one session and the start of the next.
    Block ids stay, so the sessions of a user share no more text than before. ValueError without users or sessions.
    """
    order = [session for session in workload.sessions if session.turns]
    if users < 1 or not order:
        raise ValueError("a closed loop needs at least one user and one session")
    rng = Random(f"users/{seed}")
    rng.shuffle(order)
    dealt: list[list[Session]] = [[] for _ in range(min(users, len(order)))]
    free = [(0.0, number) for number in range(len(dealt))]
    for session in order:
        at, number = heapq.heappop(free)
        dealt[number].append(session)
        heapq.heappush(free, (at + pause_seconds + _nominal_seconds(session), number))
    people = [
        _chained(f"user-{number}", hand, rng.random() * spread_seconds, pause_seconds)
        for number, hand in enumerate(dealt)
    ]
    people.sort(key=lambda person: person.start_seconds)
    return replace(workload, sessions=tuple(people), quantum_seconds=0.0)


def _nominal_seconds(session: Session) -> float:
    return sum(turn.think_seconds + turn.output_tokens * _TOKEN_SECONDS for turn in session.turns)


def _chained(name: str, sessions: list[Session], start_seconds: float, pause_seconds: float) -> Session:
    """Return *sessions* as one whose later parts begin *pause_seconds* after the end of the earlier."""
    turns: list[Turn] = list(sessions[0].turns)
    for session in sessions[1:]:
        first, *rest = session.turns
        turns += [replace(first, think_seconds=first.think_seconds + pause_seconds), *rest]
    person = replace(sessions[0], id=name, turns=tuple(turns), start_seconds=start_seconds)
    return _owned(person, name)


def _owned(session: Session, tenant: str) -> Session:
    """Return *session* as one of *tenant*, with all that it spawns."""
    turns = (
        replace(turn, spawns=tuple(_owned(each, tenant) for each in turn.spawns)) if turn.spawns else turn
        for turn in session.turns
    )
    return replace(session, turns=tuple(turns), tenant=tenant)
