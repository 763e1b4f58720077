"""What is asked of a cluster: sessions of requests that follow one another. Reading traces is in `traces`.

An open loop is the case of sessions with one turn each, started at given times; a closed loop has sessions of many turns, each sent
some time after the answer to the one before.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

Runs = tuple[tuple[int, int], ...]
"""Block ids as runs: `(first, count)` stands for `first, first + 1, ... first + count - 1`."""


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One request of a session.

    `runs` names the started blocks of prompt and output together, in order. Two turns have the same text up to the end of block *i* if, and
    only if, their blocks *i* have the same id: what a trace does not say gets ids of its own.
    """

    prompt_tokens: int
    output_tokens: int
    runs: Runs
    think_seconds: float = 0.0
    """From the end of the previous answer to this request; of a first turn, from the session's start."""
    spawns: tuple[Session, ...] = ()
    """Sessions that start when this turn is sent; their `start_seconds` counts from there."""


class Session(msgspec.Struct, frozen=True):
    """Requests that wait for one another."""

    id: str
    turns: tuple[Turn, ...]
    start_seconds: float = 0.0
    tenant: str = ""
    """Whom service is owed to: the unit of fairness."""
    adapter: str = ""
    priority: int = 0
    """Higher is more important (InferenceObjective's meaning)."""


class Workload(msgspec.Struct, frozen=True):
    """Sessions in the order of their start, and the size of the blocks their turns are written in."""

    name: str
    block_tokens: int
    sessions: tuple[Session, ...]
    quantum_seconds: float = 0.0
    """Starts were rounded to multiples of this; 0 for exact ones."""

    def turns(self) -> Iterator[Turn]:
        """Yield every turn, those of spawned sessions included; in no particular order of time."""
        waiting = list(self.sessions)
        while waiting:
            session = waiting.pop()
            for turn in session.turns:
                yield turn
                waiting.extend(turn.spawns)
