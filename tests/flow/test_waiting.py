"""The asyncio shell: futures, one timer, clients that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from igw.errors import DropReason, NoEndpoints, QueueFull, Rejected, ShuttingDown, WaitedTooLong
from igw.flow.api import Dispatched, Item
from igw.flow.band import BandSettings
from igw.flow.engine import Engine
from igw.flow.revocation import RevocationSettings
from igw.flow.settings import Settings
from igw.flow.waiting import Waiting
from tests.flow.scenes import Claim, Pool


class Desk:
    """A pool, an engine and the waiting around it."""

    def __init__(self, slots: int = 1, **settings: Any) -> None:
        self.pool = Pool()
        self.pool.slots = {"a": slots} if slots else {}
        engine = Engine(Settings(**settings), self.pool.saturation, endpoints=len(self.pool.slots))
        self.evicted: list[int] = []
        self.abandoned: list[Any] = []
        self.waiting = Waiting(
            engine,
            asyncio.get_running_loop().time,
            evict=self.evicted.append,
            abandoned=self.abandoned.append,
        )

    def place(self, number: int, **fields: Any) -> asyncio.Task[Dispatched]:
        """Let a request come."""
        item = Item(number, fields.pop("flow", "x"), **fields)
        return asyncio.create_task(self.waiting.place(item, Claim(self.pool, item)))

    def end(self, number: int) -> None:
        """Let one end."""
        self.pool.taken.pop(number)
        self.waiting.ended(number)

    async def held(self, *tasks: asyncio.Task[Any]) -> None:
        """Return once *tasks* wait in the engine."""
        while self.waiting.statistics().total.requests < len(tasks):
            await asyncio.sleep(0)


async def test_there_is_no_waiting_where_there_is_room() -> None:
    """The answer is there at once."""
    desk = Desk()
    placed = await desk.place(1)
    assert (placed.decision, placed.waited_seconds) == ("a", 0.0)


async def test_whoever_waits_goes_when_somebody_ends() -> None:
    """And learns how long it took."""
    desk = Desk()
    await desk.place(1)
    second = desk.place(2)
    await desk.held(second)
    assert desk.waiting.standing(2) is not None
    desk.end(1)
    placed = await second
    assert placed.decision == "a"
    assert desk.waiting.standing(2) is None


async def test_many_changes_are_one_look() -> None:
    """However many ends there are in one turn of the loop."""
    desk = Desk(slots=3)
    for number in (1, 2, 3):
        await desk.place(number)
    tasks = [desk.place(number) for number in (4, 5, 6)]
    await desk.held(*tasks)
    asked = desk.pool.asked
    for number in (1, 2, 3):
        desk.end(number)
    assert desk.pool.asked == asked
    assert [placed.decision for placed in await asyncio.gather(*tasks)] == ["a"] * 3


async def test_time_ends_waiting_without_any_event() -> None:
    """The timer is set for the earliest deadline."""
    desk = Desk(request_ttl_seconds=0.05)
    await desk.place(1)
    slow, fast = desk.place(2, ttl_seconds=30.0), desk.place(3)
    with pytest.raises(WaitedTooLong) as error:
        await fast
    assert (error.value.status, error.value.reason) == (429, DropReason.TTL_EXPIRED)
    assert error.value.message.startswith("request timed out in queue: ")
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_client_that_leaves_is_forgotten_at_once() -> None:
    """Its room in the queue is free."""
    desk = Desk(band=BandSettings(max_requests=1))
    await desk.place(1)
    waits = desk.place(2)
    await desk.held(waits)
    with pytest.raises(QueueFull) as error:
        await desk.place(3)
    assert error.value.retry_after_seconds in (20, 21)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert desk.waiting.statistics().total.requests == 0
    await desk.held(task := desk.place(4))
    desk.end(1)
    await task
    assert desk.abandoned == []


async def test_a_decision_for_a_client_that_has_just_left_is_given_back() -> None:
    """Whether it was cancelled before or after the decision was made."""
    desk = Desk()
    await desk.place(1)
    waits = desk.place(2)
    await desk.held(waits)
    desk.end(1)
    desk.waiting.pool_changed(1)  # decided, and not yet delivered
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert desk.abandoned == ["a"]
    third = desk.place(3)
    await desk.held(third)
    third.cancel()  # not delivered when the decision is made
    desk.end(2)
    desk.waiting.pool_changed(1)
    with pytest.raises(asyncio.CancelledError):
        await third
    assert desk.abandoned == ["a", "a"]


async def test_stopping_answers_everybody() -> None:
    """Those who wait and those who come."""
    desk = Desk()
    await desk.place(1)
    tasks = [desk.place(number) for number in (2, 3)]
    await desk.held(*tasks)
    desk.waiting.changed()
    desk.waiting.stop()
    for task in (*tasks, desk.place(4)):
        with pytest.raises(ShuttingDown) as error:
            await task
        assert error.value.message.startswith("flow controller shutting down: ")


async def test_scaling_from_zero() -> None:
    """Requests wait for the first endpoint; those that cannot wait that long hear that there is none."""
    desk = Desk(slots=0)
    patient, hasty = desk.place(1), desk.place(2, ttl_seconds=0.01)
    with pytest.raises(NoEndpoints) as error:
        await hasty
    assert error.value.message.startswith("request timed out in queue and no endpoints are available: ")
    desk.pool.slots = {"a": 1}
    desk.waiting.pool_changed(1)
    assert (await patient).decision == "a"


async def test_what_a_claim_raises_reaches_its_request() -> None:
    """Waiting or not."""
    desk = Desk()
    item = Item(1, "x")
    with pytest.raises(LookupError, match="nowhere"):
        await desk.waiting.place(item, Claim(desk.pool, item, broken="1"))


async def test_victims_are_told() -> None:
    """And their place is taken once they have ended."""
    desk = Desk(revocation=RevocationSettings())
    await desk.place(1, priority=-1)
    waits = desk.place(2)
    await desk.held(waits)
    desk.waiting.first_token(9)
    await until(lambda: bool(desk.evicted))
    assert desk.evicted == [1]
    desk.end(1)
    assert (await waits).decision == "a"


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


def test_every_answer_is_a_rejection() -> None:
    """The type that the wire knows what to do with."""
    assert issubclass(QueueFull, Rejected)


async def test_room_of_which_nobody_tells_is_looked_for_in_time() -> None:
    """When it was said that there may be some; once."""
    desk, loop = Desk(), asyncio.get_running_loop()
    room_at = loop.time() + 0.03
    desk.waiting = Waiting(
        Engine(Settings(), desk.pool.saturation), loop.time, evict=desk.evicted.append, abandoned=desk.abandoned.append,
        next_change=lambda now: room_at if now < room_at else float("inf"),
    )  # fmt: skip
    await desk.place(1)
    waiting = desk.place(2)
    await desk.held(waiting)
    desk.pool.taken.pop(1)
    await waiting
    assert loop.time() >= room_at
