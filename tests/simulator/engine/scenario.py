"""A small engine in virtual time, and what it does as lines of text."""

from __future__ import annotations

from array import array
from typing import Any
from zlib import crc32

from igw.simulator.engine.blocks import block_hashes
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.events import KvEvent
from igw.simulator.engine.sequence import Emission, Progress, Sequence, Step
from igw.simulator.hardware.calibration import StepTime

STEP_TIME = StepTime.load()


def config(**sizes: Any) -> EngineConfig:
    """A small engine: blocks of 4 tokens, 64 of them, steps of 16 tokens for at most 4 sequences."""
    plain = {"num_gpu_blocks": 64, "block_size": 4, "max_num_seqs": 4, "max_num_batched_tokens": 16}
    return EngineConfig(step_time=STEP_TIME, **(plain | sizes))


def generated(name: str, output: int) -> list[int]:
    """Tokens nobody else has."""
    return [crc32(f"{name} {index}".encode()) for index in range(output)]


def sequence(name: str, prompt: list[int], output: int, **rest: Any) -> Sequence:
    """A streamed sequence for blocks of 4 whose generated tokens are its own."""
    hashes = block_hashes("m", array("I", prompt + generated(name, output)), 4)
    return Sequence(name, len(prompt), output, hashes, **({"stream": True} | rest))


class Scenario:
    """Runs an engine; the time is that of its steps."""

    def __init__(self, settings: EngineConfig) -> None:
        self.events: list[KvEvent] = []
        self.engine = Engine(settings, self.events.append)
        self.now = 0.0
        self.tokens: dict[str, list[int]] = {}
        self.cached: dict[str, int] = {}
        self.ends: dict[str, float] = {}

    def submit(self, *each: Sequence) -> None:
        """Submit them now."""
        for one in each:
            self.engine.submit(one, self.now)
            self.tokens[one.id] = []

    def finish(self, step: Step) -> list[Emission]:
        """Let a step pass, and note what came out."""
        self.now += step.duration_seconds
        emissions = self.engine.finish_step(step)
        for each in emissions:
            self.tokens[each.sequence.id].append(each.total_tokens)
            self.cached[each.sequence.id] = each.cached_tokens
            if each.reason:
                self.ends[each.sequence.id] = self.now
        return emissions

    def begin(self) -> Step:
        """Begin a step, which there has to be."""
        step = self.engine.begin_step(self.now)
        assert step is not None
        return step

    def step(self) -> list[Emission]:
        """Make one step if there is one."""
        step = self.engine.begin_step(self.now)
        return self.finish(step) if step else []

    def run_dry(self) -> None:
        """Step until there is nothing to do."""
        while step := self.engine.begin_step(self.now):
            self.finish(step)

    def work(self, step: Step) -> list[tuple[Progress, int]]:
        """Return who computes how many tokens in *step*, in the order of admission."""
        return [(each, 1) for each in self.engine._decoding.members] + step.chunks

    def transcript(self, steps: int) -> list[str]:
        """One line a step: what each sequence computed, and after an arrow who got a token (! when its last)."""
        lines = []
        for _ in range(steps):
            step = self.engine.begin_step(self.now)
            if step is None:
                lines.append("idle")
                continue
            work = " ".join(f"{each.sequence.id}{tokens}" for each, tokens in self.work(step))
            out = " ".join(each.sequence.id + ("!" if each.reason else "") for each in self.finish(step))
            lines.append(f"{work} > {out}".strip())
        return lines
