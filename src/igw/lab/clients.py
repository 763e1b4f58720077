"""The clients of a workload: sessions that start, wait for answers, think, and repeat what was lost. Sending is `gateway`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from igw.lab.asked import Asked
from igw.lab.clock import VirtualClock
from igw.lab.gateway import Gateway
from igw.lab.records import Fate, Record
from igw.lab.workload import Session, Workload

RETRY_SECONDS = 1.0
"""After which a session repeats a request that was lost or rejected."""


class _Going:
    """A session under way."""

    __slots__ = ("attempts", "session", "turn")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.turn = 0
        self.attempts = 0


class Clients:
    """Runs every session of a workload once."""

    def __init__(
        self, workload: Workload, model: str, gateway: Gateway, clock: VirtualClock, retries: int
    ) -> None:
        self.turns_over = 0
        """Turns that were answered or given up, and those that their sessions will therefore not send."""
        self.going = 0
        """Sessions that have not ended, those included that will start."""
        self._block_tokens = workload.block_tokens
        self._model = model
        self._gateway = gateway
        self._clock = clock
        self._retries = retries
        self._sent = 0
        sessions = sorted(workload.sessions, key=lambda session: session.start_seconds)
        self.going = len(sessions)
        self._coming = iter(sessions)
        self._next()

    def _next(self) -> None:
        """Plan the next session only: the heap stays as small as what is under way."""
        session = next(self._coming, None)
        if session is not None:
            self._clock.at(session.start_seconds, self._start_planned, session)

    def _start_planned(self, session: Session) -> None:
        self._next()
        self._start(session)

    def _start(self, session: Session) -> None:
        self._think(_Going(session))

    def _think(self, going: _Going) -> None:
        if going.turn < len(going.session.turns):
            self._clock.after(going.session.turns[going.turn].think_seconds, self._send, going)
        else:
            self.going -= 1

    def _send(self, going: _Going) -> None:
        turn = going.session.turns[going.turn]
        if not going.attempts:
            self._spawn(turn.spawns)
        going.attempts += 1
        asked = Asked(going.session, turn, self._block_tokens, str(self._sent))
        self._sent += 1
        self._gateway.send(asked, self._model, partial(self._ended, going))

    def _spawn(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            self.going += 1
            self._clock.after(session.start_seconds, self._start, session)

    def _ended(self, going: _Going, record: Record) -> None:
        if record.fate is Fate.COMPLETE:
            self.turns_over += 1
            going.turn, going.attempts = going.turn + 1, 0
            self._think(going)
        elif _hopeless(record) or going.attempts > self._retries:
            self._give_up(going)
        else:
            self._clock.after(RETRY_SECONDS, self._send, going)

    def _give_up(self, going: _Going) -> None:
        unsent = going.session.turns[going.turn + 1 :]
        self.turns_over += 1 + len(unsent) + sum(_turns(turn.spawns) for turn in unsent)
        self.going -= 1


def _hopeless(record: Record) -> bool:
    """Whether a server, not the picker, refused it: it would refuse it again."""
    return record.fate is Fate.REJECTED and record.server >= 0


def _turns(sessions: Iterable[Session]) -> int:
    return sum(1 + _turns(turn.spawns) for session in sessions for turn in session.turns)
