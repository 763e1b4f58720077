"""Hit ratios that no placement of requests can beat: caches of unlimited and of summed size, for requests in a given order.

What a run really hit is in its records. Oracles of time, which know the state of servers, are policies.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

import msgspec

from igw.lab import blocks
from igw.lab.records import Fate, Record
from igw.lab.workload import Session, Turn, Workload

GUESSED_TOKEN_SECONDS = 0.02
"""One output token, where the order of a closed loop's requests is wanted and no run is there to tell."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One request in the order of dispatch; what is not `counted` fills caches and is in no figure."""

    turn: Turn
    counted: bool = True


class HitOracles(msgspec.Struct, frozen=True):
    """Shares of prompt tokens found in a cache."""

    infinite: float
    """One cache for all servers that forgets nothing."""
    pooled: float
    """One cache for all servers of their summed size that forgets what was used least recently."""


class Cache:
    """Blocks that were seen; with a capacity the least recently used go first.

    A text's last blocks go before its first, as engines free them. So of every text a leading part is held, which is what makes lookups short.
    """

    def __init__(self, capacity_blocks: int | None = None) -> None:
        self._capacity = capacity_blocks
        self._held: OrderedDict[int, None] = OrderedDict()

    def leading(self, ids: Sequence[int]) -> int:
        """Return how many of *ids* are held from the first on."""
        held = self._held
        return bisect_left(range(len(ids)), True, key=lambda at: ids[at] not in held)

    def put(self, ids: Sequence[int], known: int = 0) -> None:
        """Hold *ids*, of which the first *known* are held already."""
        held = self._held
        if self._capacity is None:
            held.update(dict.fromkeys(ids[known:]))
            return
        for each in reversed(ids):
            held[each] = None
            held.move_to_end(each)
        while len(held) > self._capacity:
            held.popitem(last=False)


def hit_ratio(
    asked: Iterable[Asked],
    block_tokens: int,
    *,
    capacity_tokens: int | None = None,
    caches: int = 1,
    answers: bool = True,
) -> float:
    """Return the share of prompt tokens that are in a leading run of full blocks seen before; 0 without requests.

    Requests go to *caches* caches by turns, each of *capacity_tokens* (None: unlimited). *answers* puts the full blocks of answers into the
    cache too, as engines do; without, only prompts are remembered, which is how published figures of traces are counted.
    """
    capacity = None if capacity_tokens is None else capacity_tokens // block_tokens
    pool = [Cache(capacity) for _ in range(caches)]
    hits = total = 0
    for number, (turn, counted) in enumerate((each.turn, each.counted) for each in asked):
        cache = pool[number % caches]
        prompt_blocks = turn.prompt_tokens // block_tokens
        full = (turn.prompt_tokens + turn.output_tokens) // block_tokens if answers else prompt_blocks
        ids = list(blocks.ids(turn.runs, full))
        known = cache.leading(ids)
        cache.put(ids, known)
        if counted:
            total += turn.prompt_tokens
            hits += min(known, prompt_blocks) * block_tokens
    return hits / total if total else 0.0


def hit_oracles(asked: Sequence[Asked], block_tokens: int, capacity_tokens: int) -> HitOracles:
    """Return both oracles for requests in this order; *capacity_tokens* is the KV memory of all servers together."""
    return HitOracles(
        hit_ratio(asked, block_tokens),
        hit_ratio(asked, block_tokens, capacity_tokens=capacity_tokens),
    )


def in_order(workload: Workload) -> list[Asked]:
    """Return all requests in the order of their arrival; a closed loop's by a guess of how long answers take."""
    order = count()
    coming: list[tuple[float, int, Session, int]] = []

    def plan(at: float, session: Session, number: int) -> None:
        if number < len(session.turns):
            heapq.heappush(coming, (at + session.turns[number].think_seconds, next(order), session, number))

    for session in workload.sessions:
        plan(session.start_seconds, session, 0)
    asked = []
    while coming:
        at, _, session, number = heapq.heappop(coming)
        turn = session.turns[number]
        asked.append(Asked(turn))
        plan(at + turn.output_tokens * GUESSED_TOKEN_SECONDS, session, number + 1)
        for spawned in turn.spawns:
            plan(at + spawned.start_seconds, spawned, 0)
    return asked


def dispatched(workload: Workload, records: Iterable[Record]) -> list[Asked]:
    """Return the requests of a run in the order in which they were sent to servers.

    A session's records are its turns in order, those that failed being its attempts at the same turn. Counted are complete ones after the
    warm-up, as in a run's own hit ratio. ValueError for a record of a session that *workload* does not have.
    """
    sessions = {session.id: session for session in _all_sessions(workload.sessions)}
    at: dict[str, int] = {}
    found: list[tuple[float, Asked]] = []
    for record in sorted(records, key=lambda record: record.arrived):
        number = at.get(record.session, 0)
        session = sessions.get(record.session)
        if session is None or number >= len(session.turns):
            raise ValueError(
                f"session {record.session!r} has no request {number} in workload {workload.name}"
            )
        complete = record.fate is Fate.COMPLETE
        if record.server >= 0:
            asked = Asked(session.turns[number], complete and not record.warmup)
            found.append((record.arrived + record.held_seconds, asked))
        at[record.session] = number + complete
    found.sort(key=lambda pair: pair[0])
    return [asked for _, asked in found]


def _all_sessions(sessions: Iterable[Session]) -> Iterator[Session]:
    for session in sessions:
        yield session
        for turn in session.turns:
            yield from _all_sessions(turn.spawns)
