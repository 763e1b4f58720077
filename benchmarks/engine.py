"""The simulator's engine by itself: what it costs beside the price of a step, which is measured apart.

decode: one step of sequences of 1,000 tokens that all decode, in a memory full of cached blocks; one block in 16 steps and
sequence. prefill: a prompt never seen before, from submit to its only token, evicting as many blocks as it takes.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

from benchmarks.picks import best
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Sequence
from igw.simulator.hardware.calibration import StepTime

_BLOCKS = 27_000  # what an H100 has beside the weights of an 8B model
_SIZE = 16


class Free:
    """Prices every step at nothing."""

    def seconds(self, *_: object) -> float:
        """Take no time."""
        return 0.0


def engine_of() -> Engine:
    """Return an engine whose memory is full of cached blocks."""
    free: Any = Free()
    engine = Engine(EngineConfig(free, _BLOCKS))
    number = random.Random(1)
    for prompt in range(8):
        engine.submit(sequence(f"filler {prompt}", 60_000, 1, number), 0.0)
    run_dry(engine)
    return engine


def sequence(name: str, prompt: int, output: int, number: random.Random, *, stream: bool = False) -> Sequence:
    """Return a sequence that shares nothing with others."""
    hashes = tuple(number.getrandbits(64) for _ in range((prompt + output) // _SIZE))
    return Sequence(name, prompt, output, hashes, stream=stream)


def run_dry(engine: Engine) -> None:
    """Step until there is nothing to do."""
    while step := engine.begin_step(0.0):
        engine.finish_step(step)


def decode_microseconds(batch: int, *, stream: bool) -> float:
    """Measure a step in which everybody decodes."""
    engine, number = engine_of(), random.Random(2)
    for index in range(batch):
        engine.submit(sequence(str(index), 1_000 + index, 40_000, number, stream=stream), 0.0)
    while True:
        step = engine.begin_step(0.0)
        assert step is not None
        engine.finish_step(step)
        if step.decode_sequences == batch:
            break

    def one() -> None:
        step = engine.begin_step(0.0)
        assert step is not None
        engine.finish_step(step)

    return best(one, 100)


def prefill_microseconds(tokens: int) -> float:
    """Measure a prompt of *tokens*, two steps if it is longer than one."""
    engine, number = engine_of(), random.Random(3)
    prompts = iter([sequence(str(index), tokens, 1, number) for index in range(7 * 20)])

    def one() -> None:
        engine.submit(next(prompts), 0.0)
        run_dry(engine)

    return best(one, 20)


def price_microseconds() -> float:
    """Measure the arithmetic of a step of 64 decodes."""
    step_time, tokens = StepTime.load(), itertools.count(128_000)
    return best(lambda: step_time.seconds((), 64, next(tokens), 0), 20_000)


def steps() -> list[dict[str, Any]]:
    """Measure steps of several kinds."""
    rows = [
        {
            "case": f"decode, {batch} sequences",
            "us": decode_microseconds(batch, stream=False),
            "streamed_us": decode_microseconds(batch, stream=True),
        }
        for batch in (1, 16, 64, 200)
    ]
    rows += [
        {"case": f"prefill, {tokens:,} tokens", "us": prefill_microseconds(tokens)}
        for tokens in (1_000, 13_000)
    ]
    return [*rows, {"case": "price of a decode step", "us": price_microseconds()}]
