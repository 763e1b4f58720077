"""`Supervisor` with real processes: the order up, the order down, and what happens when one dies."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from igw.stack.child import Child
from igw.stack.supervisor import Ended, PartFailed, Supervisor

READY = "import signal, sys; print('{\"ready\": true}', flush=True); "


class Noted(Child):
    """A process that notes when it is started and stopped."""

    def __init__(self, name: str, code: str, notes: list[str]) -> None:
        super().__init__(name, [sys.executable, "-S", "-c", code])
        self._notes = notes

    async def start(self, within_seconds: float = 10.0) -> Mapping[str, Any]:
        """Note it."""
        said = await super().start(within_seconds)
        self._notes.append(f"+{self.name}")
        return said

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Note it."""
        await super().stop(grace_seconds)
        self._notes.append(f"-{self.name}")


LASTING = READY + "signal.pause()"
NEVER_READY = "import signal; signal.pause()"


async def test_parts_go_up_in_order_and_down_in_the_opposite_order() -> None:
    """The last one started is the first one stopped."""
    notes: list[str] = []
    supervisor = Supervisor()
    for name in "abc":
        await supervisor.bring_up(Noted(name, LASTING, notes))
    await supervisor.take_down()
    assert notes == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_the_death_of_a_part_names_it_and_its_signal() -> None:
    """`first_to_end` tells which one and how."""
    supervisor = Supervisor()
    await supervisor.bring_up(Noted("servers", LASTING, []))
    await supervisor.bring_up(
        Noted("picker", READY + "print('oh no', file=sys.stderr, flush=True); signal.raise_signal(11)", [])
    )
    ended = await supervisor.first_to_end()
    await supervisor.take_down()
    assert ended == Ended("picker", -signal.SIGSEGV, ("oh no",))
    assert str(PartFailed.of(ended)) == "picker: ended, signal SIGSEGV; its last lines:\n  oh no"


async def test_a_part_that_dies_while_the_next_one_starts_ends_the_start() -> None:
    """Nobody waits for a part that has lost what it needs."""
    supervisor = Supervisor()
    await supervisor.bring_up(Noted("servers", READY + "sys.exit(7)", []))
    with pytest.raises(PartFailed, match="servers: ended, exit status 7"):
        await supervisor.bring_up(Noted("picker", NEVER_READY, []))
    await supervisor.take_down()


async def test_a_start_that_is_cancelled_leaves_no_process() -> None:
    """Ctrl-C while parts come up stops those that are up and the one on its way."""
    notes: list[str] = []
    supervisor = Supervisor()
    await supervisor.bring_up(Noted("a", LASTING, notes))
    coming = Noted("b", NEVER_READY, notes)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await supervisor.bring_up(coming)
    await supervisor.take_down()
    assert notes == ["+a", "-b", "-a"]
    assert (await coming.ended()).status == -signal.SIGTERM


async def test_killing_while_parts_are_stopped_ends_the_wait() -> None:
    """A second Ctrl-C does not wait for the grace period."""
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LASTING
    supervisor = Supervisor()
    part = Noted("deaf", deaf, [])
    await supervisor.bring_up(part)
    stopping = asyncio.create_task(supervisor.take_down())
    await asyncio.sleep(0)
    supervisor.kill()
    async with asyncio.timeout(4):
        await stopping
    assert (await part.ended()).status == -signal.SIGKILL


async def test_a_part_that_cannot_be_stopped_does_not_keep_the_others_up() -> None:
    """Every part is tried; the failure is told afterwards."""

    class Stubborn(Noted):
        async def stop(self, grace_seconds: float = 5.0) -> None:
            await super().stop(grace_seconds)
            raise OSError("no")

    notes: list[str] = []
    supervisor = Supervisor()
    await supervisor.bring_up(Noted("a", LASTING, notes))
    await supervisor.bring_up(Stubborn("b", LASTING, notes))
    with pytest.raises(ExceptionGroup, match="did not stop cleanly"):
        await supervisor.take_down()
    assert notes == ["+a", "+b", "-b", "-a"]


def test_an_end_is_told_by_status_or_by_signal() -> None:
    """An unknown signal is told by number."""
    assert [Ended("x", status).how for status in (0, 3, -9, -63)] == [
        "exit status 0",
        "exit status 3",
        "signal SIGKILL",
        "signal 63",
    ]
