"""Real time without real time: the driver on a clock that moves only when it sleeps."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from igw.simulator.driver import MAX_CATCH_UP_SECONDS, Driver, Inbox
from igw.simulator.engine.engine import Engine, EngineConfig
from igw.simulator.engine.sequence import Emission, Sequence
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.metrics.histograms import Histograms

SEQUENCE = Sequence("a", prompt_tokens=10, output_tokens=100, stream=True)


class SlowClock:
    """Every sleep wakes up late by `late` seconds."""

    def __init__(self, late: float) -> None:
        self.now = 1000.0
        self.late = late
        self.stall = 0.0

    async def sleep(self, seconds: float) -> None:
        """Stand in for `asyncio.sleep`."""
        self.now += seconds + self.late + self.stall
        self.stall = 0.0
        await real_sleep(0)


real_sleep = asyncio.sleep


def ideal_seconds(sequence: Sequence) -> float:
    """How long the engine alone takes for one sequence."""
    engine, now = Engine(EngineConfig(StepTime.load(), 100)), 0.0
    engine.submit(sequence, now)
    while step := engine.begin_step(now):
        now += step.duration_seconds
        engine.finish_step(step)
    return now


async def drive(
    clock: SlowClock,
    speed: float,
    monkeypatch: pytest.MonkeyPatch,
    sequence: Sequence = SEQUENCE,
    histograms: Histograms | None = None,
) -> list[Emission]:
    """Run *sequence* to its end on *clock*."""
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    histograms = histograms or Histograms(1000)
    engine = Engine(EngineConfig(StepTime.load(), 100))
    driver = Driver(engine, histograms, speed=speed, clock=lambda: clock.now)
    task = asyncio.create_task(driver.run())
    inbox = Inbox(every_token=True)
    driver.submit(sequence, inbox, clock.now)
    taken: list[Emission] = []
    while not taken or not taken[-1].reason:
        taken += await inbox.take()
    async with asyncio.timeout(10):
        await driver.idle.wait()
    task.cancel()
    return taken


async def test_late_wake_ups_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred steps, each woken two milliseconds late, end two milliseconds late."""
    clock = SlowClock(late=0.002)
    taken = await drive(clock, 1.0, monkeypatch)
    assert [each.total_tokens for each in taken] == list(range(1, 101))
    assert clock.now - 1000.0 == pytest.approx(ideal_seconds(SEQUENCE) + 0.002, abs=1e-6)


async def test_speed_divides_every_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as fast."""
    clock = SlowClock(late=0.0)
    await drive(clock, 4.0, monkeypatch)
    assert clock.now - 1000.0 == pytest.approx(ideal_seconds(SEQUENCE) / 4, abs=1e-6)


async def test_after_a_long_stall_only_a_little_is_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped for five seconds does not answer for them in a burst."""
    clock = SlowClock(late=0.0)
    clock.stall = 5.0
    await drive(clock, 1.0, monkeypatch)
    assert clock.now - 1000.0 == pytest.approx(ideal_seconds(SEQUENCE) + 5.0 - MAX_CATCH_UP_SECONDS, abs=0.02)


async def test_an_inbox_without_every_token_wakes_only_for_the_last() -> None:
    """What an answer that is not streamed needs."""
    inbox = Inbox(every_token=False)
    inbox.put(Emission(SEQUENCE, 1, 99, 0, 0.0))
    inbox.put(Emission(SEQUENCE, 1, 100, 0, 0.0))
    assert [each.total_tokens for each in await inbox.take()] == [100]


async def test_an_abort_is_final_and_may_be_repeated() -> None:
    """Nothing reaches the inbox afterwards, and the engine is idle."""
    engine = Engine(EngineConfig(StepTime.load(), 100))
    driver = Driver(engine, Histograms(1000), speed=1.0, clock=lambda: 0.0)
    driver.submit(SEQUENCE, Inbox(every_token=True), 0.0)
    driver.abort("a")
    driver.abort("a")
    assert engine.statistics().aborted == 1
    assert engine.begin_step(0.0) is None


async def test_every_token_of_an_answer_that_is_not_streamed_is_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two emissions, one time to first token, and 99 gaps of the mean length."""
    told, streamed = Histograms(1000), Histograms(1000)
    whole = msgspec.structs.replace(SEQUENCE, stream=False)
    taken = await drive(SlowClock(late=0.0), 1.0, monkeypatch, whole, told)
    await drive(SlowClock(late=0.0), 1.0, monkeypatch, SEQUENCE, streamed)
    assert [each.new_tokens for each in taken] == [1, 99]
    assert told.time_to_first_token.count == 1
    assert told.inter_token_latency.count == streamed.inter_token_latency.count == 99
    assert told.inter_token_latency.sum == pytest.approx(streamed.inter_token_latency.sum)


async def test_keys_and_values_that_are_on_their_way_are_waited_for() -> None:
    """Twice as fast as real: a transfer of 20 ms takes 10, and queue time is told in seconds of the wall."""
    loop = asyncio.get_running_loop()
    histograms = Histograms(1000)
    driver = Driver(Engine(EngineConfig(StepTime.load(), 100)), histograms, speed=2.0, clock=loop.time)
    task = asyncio.create_task(driver.run())
    inbox = Inbox(every_token=False)
    began = loop.time()
    driver.submit(Sequence("a", 10, 1, remote_tokens=10, load_seconds=0.02), inbox, began)
    async with asyncio.timeout(10):
        (emission,) = await inbox.take()
        await driver.idle.wait()
    assert loop.time() - began >= 0.01
    assert emission.cached_tokens == 9
    assert histograms.queue_time.sum == pytest.approx(emission.queued_seconds / 2)
    assert 0.01 <= histograms.queue_time.sum < loop.time() - began
    task.cancel()


async def test_an_abort_wakes_who_waits_for_the_memory() -> None:
    """The engine had nothing it could do, and says nothing of its own."""
    loop = asyncio.get_running_loop()
    engine = Engine(EngineConfig(StepTime.load(), 2))
    driver = Driver(engine, Histograms(1000), speed=1.0, clock=loop.time)
    near, far = Inbox(every_token=False), Inbox(every_token=False)
    # It has all the memory, and its keys and values do not come for an hour.
    driver.submit(Sequence("far", 31, 1, remote_tokens=31, load_seconds=3600.0), far, loop.time())
    assert engine.begin_step(loop.time()) is None
    driver.submit(Sequence("near", 20, 1), near, loop.time())
    task = asyncio.create_task(driver.run())
    await asyncio.sleep(0)
    assert not driver.idle.is_set()
    driver.abort("far")
    async with asyncio.timeout(10):
        (emission,) = await near.take()
    assert emission.sequence.id == "near"
    task.cancel()
