"""Simulated servers on the virtual clock: one engine each, steps that take their time, ends that are told.

The server that runs in real time is `simulator.server`; both run the same engine. Who sends requests is not known here.
"""

from __future__ import annotations

from typing import Protocol

from igw.endpoint import Endpoint
from igw.lab.clock import VirtualClock
from igw.lab.records import ServerTotal
from igw.simulator.engine.engine import Engine, EngineConfig, Statistics
from igw.simulator.engine.sequence import Emission, Sequence, Step
from igw.simulator.engine.shared import SharedTier
from igw.simulator.hardware.calibration import FRONTEND_SECONDS


class Answer(Protocol):
    """Who waits for an answer; told of the first token, and once of the end."""

    def started(self, emission: Emission, /) -> None:
        """Take the first token."""
        ...

    def completed(self, emission: Emission, /) -> None:
        """Take the last token."""
        ...

    def refused(self) -> None:
        """Learn that the server does not serve such a request, now or ever."""
        ...

    def lost(self) -> None:
        """Learn that the server went away."""
        ...


class _Awaited:
    """An answer under way."""

    __slots__ = ("answer", "begun")

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.begun = False


class Server:
    """One server. `engine` may be read by others, never driven."""

    def __init__(
        self,
        number: int,
        endpoint: Endpoint,
        config: EngineConfig,
        speed: float,
        clock: VirtualClock,
        shared_tier: SharedTier | None = None,
    ) -> None:
        self.number = number
        self.endpoint = endpoint
        self.config = config
        self.speed = speed
        self.up = True
        self.steps = 0
        self._shared_tier = shared_tier
        self.engine = Engine(config, shared=shared_tier)
        self.arriving: dict[str, Sequence] = {}
        """In the front end: accepted, not yet known to the engine. Oldest first."""
        self._clock = clock
        self.pace = speed
        """Times faster than the measured accelerator."""
        self._life = 0
        self._step: Step | None = None
        self._step_began = self.step_ends = 0.0
        self._planned = False
        self._awaited: dict[str, _Awaited] = {}
        self._requests = 0
        self._busy_seconds = 0.0
        self._past = (0, 0, 0)  # computed, output, preemptions of engines that were lost

    def send(self, sequence: Sequence, answer: Answer) -> None:
        """Accept a request; only a server that is up can."""
        self._requests += 1
        self._awaited[sequence.id] = _Awaited(answer)
        self.arriving[sequence.id] = sequence
        self._clock.after(FRONTEND_SECONDS / self.speed, self._submit, sequence, self._life)

    def lose(self) -> None:
        """Go down: every answer under way is lost, and so is the cache."""
        self._past = self._counted()
        if self._step is not None:
            self._busy_seconds += self._clock.now - self._step_began
        self.up, self._planned, self._step = False, False, None
        self.step_ends = self._clock.now
        self._life += 1
        self.engine = Engine(self.config, shared=self._shared_tier)
        self.arriving.clear()
        awaited, self._awaited = list(self._awaited.values()), {}
        for each in awaited:
            each.answer.lost()

    def come_back(self) -> None:
        """Come up again, with an empty cache."""
        self.up = True

    def run_at(self, pace: float) -> None:
        """Take 1/*pace* of its usual time for every step that begins from now on."""
        self.pace = self.speed * pace

    def statistics(self) -> Statistics:
        """Return what the engine says of itself now."""
        return self.engine.statistics()

    @property
    def kv_capacity_tokens(self) -> int:
        """KV memory in all."""
        return self.config.num_gpu_blocks * self.config.block_size

    def total(self) -> ServerTotal:
        """Return what the server did so far."""
        computed, output, preemptions = self._counted()
        return ServerTotal(
            name=self.endpoint.name,
            requests=self._requests,
            computed_tokens=computed,
            output_tokens=output,
            busy_seconds=self._busy_seconds,
            preemptions=preemptions,
        )

    def _counted(self) -> tuple[int, int, int]:
        now, (computed, output, preemptions) = self.engine.statistics(), self._past
        return (
            computed + now.prompt_tokens - now.prompt_tokens_cached,
            output + now.generation_tokens,
            preemptions + now.preemptions,
        )

    def _submit(self, sequence: Sequence, life: int) -> None:
        if life != self._life:
            return
        del self.arriving[sequence.id]
        try:
            self.engine.submit(sequence, self._clock.now)
        except ValueError:  # longer than the model's context, say; a real server answers 400
            self._awaited.pop(sequence.id).answer.refused()
            return
        if self._step is None and not self._planned:
            # Not at once: what else arrives at this instant belongs to the same step.
            self._planned = True
            self._clock.at(self._clock.now, self._wake, self._life)

    def _wake(self, life: int) -> None:
        if life != self._life:
            return
        self._planned = False
        if self._step is None:
            self._begin()

    def _begin(self) -> None:
        now = self._clock.now
        step = self._step = self.engine.begin_step(now)
        if step is None:
            ready_at = self.engine.wake_at()
            if ready_at is not None:
                self._clock.at(ready_at, self._wake, self._life)
            return
        self.steps += 1
        self._step_began, self.step_ends = now, now + step.duration_seconds / self.pace
        self._clock.at(self.step_ends, self._finish, step)

    def _finish(self, step: Step) -> None:
        if step is not self._step:  # the server went down meanwhile
            return
        self._step = None
        self._busy_seconds += self._clock.now - self._step_began
        for emission in self.engine.finish_step(step):
            self._deliver(emission)
        self._begin()

    def _deliver(self, emission: Emission) -> None:
        awaited = self._awaited[emission.sequence.id]
        if not awaited.begun:
            awaited.begun = True
            awaited.answer.started(emission)
        if emission.reason:
            del self._awaited[emission.sequence.id]
            awaited.answer.completed(emission)
