"""The sequences of one request on their way through the engine: handed in together, freed together.

What they are is decided before, how they are worded is the API's; neither belongs here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from igw.simulator.driver import Inbox
from igw.simulator.engine.sequence import Emission, Sequence


class CannotRun(Exception):
    """A sequence that no engine of the server can ever run; the message says why."""


class Generation:
    """What comes out of the engine for one request; `ended` has the last emission of each sequence, by its id."""

    def __init__(self, inbox: Inbox, sequences: int) -> None:
        self._inbox = inbox
        self._sequences = sequences
        self.ended: dict[str, Emission] = {}

    @property
    def going_on(self) -> bool:
        """Whether more is to come."""
        return len(self.ended) < self._sequences

    async def take(self) -> list[Emission]:
        """Return what came since the last call, waiting for the first of it."""
        emissions = await self._inbox.take()
        self.ended |= {each.sequence.id: each for each in emissions if each.reason}
        return emissions

    async def finish(self) -> None:
        """Wait until everything has ended."""
        while self.going_on:
            await self.take()


class Runner(Protocol):
    """Who runs sequences: a driver, or the ranks it may be one of."""

    def submit(self, sequence: Sequence, inbox: Inbox, arrived: float) -> None:
        """Queue a sequence; ValueError for one that can never run."""
        ...

    def abort(self, sequence_id: str) -> None:
        """Free what a sequence holds; nothing happens when it has ended."""
        ...


class _WatchedInbox(Inbox):
    """An inbox of which somebody else sees every emission, also those that wake nobody."""

    def __init__(self, *, every_token: bool, watch: Callable[[Emission], None]) -> None:
        super().__init__(every_token=every_token)
        self._watch = watch

    def put(self, emission: Emission) -> None:
        self._watch(emission)
        super().put(emission)


@asynccontextmanager
async def generating(
    runner: Runner,
    sequences: Iterable[Sequence],
    arrived: float,
    *,
    every_token: bool,
    watch: Callable[[Emission], None] | None = None,
) -> AsyncIterator[Generation]:
    """Run *sequences*, which arrived at `arrived` on the driver's clock; CannotRun for one that can never run.

    `watch` is called with each emission as it comes.

    Whoever leaves early, by an error or because the client hung up, frees the slots and the memory at once.
    """
    if watch is None:
        inbox = Inbox(every_token=every_token)
    else:
        inbox = _WatchedInbox(every_token=every_token, watch=watch)
    taken = []
    try:
        for sequence in sequences:
            try:
                runner.submit(sequence, inbox, arrived)
            except ValueError as error:
                raise CannotRun(str(error)) from error
            taken.append(sequence.id)
        yield Generation(inbox, len(taken))
    finally:
        for sequence_id in taken:
            runner.abort(sequence_id)
