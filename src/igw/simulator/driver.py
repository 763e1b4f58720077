"""Runs one engine in real time: begins a step, lets its duration pass, hands out what it produced.

Knows sequences and their inboxes, nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.metrics.histograms import Histograms

MAX_CATCH_UP_SECONDS = 0.25
"""A driver further behind its schedule than this gives up the difference instead of bursting."""


class Inbox:
    """Where one HTTP request waits for what its sequences produce; holds at most the answer."""

    def __init__(self, *, every_token: bool) -> None:
        self.every_token = every_token
        self._emissions: list[Emission] = []
        self._waiter: asyncio.Future[None] | None = None

    def put(self, emission: Emission) -> None:
        """Add an emission; without `every_token` only a sequence's last one wakes the reader."""
        if not self.every_token and not emission.reason:
            return
        self._emissions.append(emission)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[Emission]:
        """Return everything that came since the last call, waiting for the first of it."""
        while not self._emissions:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        taken, self._emissions = self._emissions, []
        return taken


class _Underway:
    """A sequence that is under way, and when it was last heard of."""

    __slots__ = ("arrived", "first_token", "inbox", "previous_token", "submitted")

    def __init__(self, inbox: Inbox, arrived: float, submitted: float) -> None:
        self.inbox = inbox
        self.arrived = arrived
        self.submitted = submitted
        self.first_token = arrived
        self.previous_token = arrived


class Driver:
    """Owns the one task that may touch the engine's steps.

    The engine's seconds are those of the simulated hardware: `speed` of them pass in one second of `clock`.
    """

    def __init__(
        self, engine: Engine, histograms: Histograms, *, speed: float, clock: Callable[[], float]
    ) -> None:
        self._engine = engine
        self._histograms = histograms
        self._speed = speed
        self._clock = clock
        self._underway: dict[str, _Underway] = {}
        self._work = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while no sequence is under way."""
        self.slow_factor = 1.0
        """How many times as long as the engine says a step takes."""

    def submit(self, sequence: Sequence, inbox: Inbox, arrived: float) -> None:
        """Queue *sequence*, which arrived at the server at `arrived`; ValueError as `Engine.submit`."""
        now = self._clock()
        self._engine.submit(sequence, now * self._speed)
        self._underway[sequence.id] = _Underway(inbox, arrived, now)
        self.idle.clear()
        self._work.set()

    def abort(self, sequence_id: str) -> None:
        """Free the sequence's slot and memory now; nothing happens when it has ended already."""
        if self._underway.pop(sequence_id, None) is not None:
            self._engine.abort(sequence_id)
            self._work.set()

    def look_again(self) -> None:
        """Begin a step if there is one: for whoever changed the engine otherwise than by a sequence."""
        self._work.set()

    async def run(self) -> None:
        """Step until cancelled."""
        due = self._clock()
        while True:
            step = self._engine.begin_step(self._clock() * self._speed)
            if step is None:
                await self._wait_for_work()
                due = self._clock()
                continue
            # Deadlines add up from the first one, so that late wake-ups do not slow the engine down.
            seconds = step.duration_seconds * self.slow_factor / self._speed
            due = max(due, self._clock() - MAX_CATCH_UP_SECONDS) + seconds
            await asyncio.sleep(max(0.0, due - self._clock()))
            now = self._clock()
            self._histograms.stepped(
                step.tokens + step.finished_prefills,
                seconds,
                prefill=bool(step.prefill),
            )
            for emission in self._engine.finish_step(step):
                self._deliver(emission, now)

    async def _wait_for_work(self) -> None:
        self._work.clear()
        if not self._underway:
            self.idle.set()
        ready = self._engine.wake_at()
        if ready is None:
            await self._work.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, ready / self._speed - self._clock())):
                await self._work.wait()

    def _deliver(self, emission: Emission, now: float) -> None:
        state = self._underway[emission.sequence.id]
        if emission.total_tokens == 1:
            self._histograms.time_to_first_token.observe(now - state.arrived)
            state.first_token = now
        else:
            # An answer that is not streamed is heard of at its ends only; vLLM observes every token of it as well.
            gap = (now - state.previous_token) / emission.new_tokens
            self._histograms.inter_token_latency.observe(gap, emission.new_tokens)
        state.previous_token = now
        state.inbox.put(emission)
        if emission.reason:
            del self._underway[emission.sequence.id]
            if self._speed != 1.0:
                queued = emission.queued_seconds / self._speed
                emission = msgspec.structs.replace(emission, queued_seconds=queued)
            self._histograms.finished(
                emission,
                arrived=state.arrived,
                submitted=state.submitted,
                first_token=state.first_token,
                now=now,
            )
