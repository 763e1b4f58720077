"""`vllm:lora_requests_info`, whose newest series tells which adapters run and wait."""

from __future__ import annotations

import msgspec

from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.engine import Engine
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.metrics.families import Block, Reading
from igw.simulator.metrics.histograms import Histograms
from igw.simulator.metrics.lora import MOST_COMBINATIONS, lora_requests_info
from tests.simulator.metrics.pages import families

CONFIG = EngineConfig(StepTime.load(), 1000, max_loras=2)
RESTING = Engine(CONFIG).statistics()
NAME = "vllm:lora_requests_info"


def reading(seconds: float, running: tuple[str, ...] = (), waiting: tuple[str, ...] = ()) -> Reading:
    """Return an engine that has these adapters at that time."""
    statistics = msgspec.structs.replace(
        RESTING,
        running=len(running),
        waiting=len(waiting),
        running_adapters=running,
        waiting_adapters=waiting,
    )
    return Reading(statistics, Histograms(1000), CONFIG, 0, seconds)


def series(write: Block, *readings: Reading) -> dict[tuple[str, str], float]:
    """Return time by running and waiting adapters."""
    samples = families(write(readings))[NAME].samples
    assert {sample.labels["max_lora"] for sample in samples} == {"2"}
    return {(s.labels["running_lora_adapters"], s.labels["waiting_lora_adapters"]): s.value for s in samples}


def test_every_combination_keeps_the_time_it_was_last_seen() -> None:
    """As in vLLM, where readers take the newest."""
    write = lora_requests_info(2)
    assert series(write, reading(1.0)) == {("", ""): 1.0}
    assert series(write, reading(2.0, ("a", "b"), ("c",))) == {("", ""): 1.0, ("a,b", "c"): 2.0}
    assert series(write, reading(3.0, ("a", "b"), ("c",))) == {("", ""): 1.0, ("a,b", "c"): 3.0}
    assert series(write, reading(4.5)) == {("", ""): 4.5, ("a,b", "c"): 3.0}


def test_an_engine_that_rests_leaves_the_time_as_it_was() -> None:
    """It is set with every step, and there is none."""
    write = lora_requests_info(2)
    series(write, reading(1.0))
    assert series(write, reading(9.0)) == {("", ""): 1.0}


def test_old_combinations_are_forgotten() -> None:
    """Adapters come and go; the series must not grow without end."""
    write = lora_requests_info(2)
    for number in range(MOST_COMBINATIONS + 10):
        found = series(write, reading(float(number), (f"a{number}",)))
    assert len(found) == MOST_COMBINATIONS
    assert ("a9", "") not in found
    assert max(found, key=lambda key: found[key]) == (f"a{MOST_COMBINATIONS + 9}", "")
