"""Lets the faults of one server happen at their time, and tells those concerned.

Which fault applies is computed by `faults`; what a client sees of it is in `http.faulty`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from igw.simulator.faults import Faults, FaultState, Planned, Restart


class Saboteur:
    """Owns the faults of a server through all its restarts; `clock` is the server's, `speed` its pace."""

    def __init__(self, schedule: Iterable[Planned], speed: float, clock: Callable[[], float]) -> None:
        self.state = FaultState(schedule, clock(), speed)
        self.restarting: Restart | None = None
        self.alive = asyncio.Event()
        """Set while the server listens, cleared when it is to restart."""
        self._clock = clock
        self._slow: Callable[[float], None] | None = None
        self._changed = asyncio.Event()
        self._planned = asyncio.Event()
        self._restart_wanted = asyncio.Event()

    def attach(self, slow: Callable[[float], None]) -> None:
        """Tell *slow*, from now on and instead of whoever was told before, how much longer steps take."""
        self._slow = slow
        slow(self.state.slow_factor)

    def set(self, faults: Faults) -> None:
        """Replace all faults; whoever hangs goes on."""
        self.state.set(faults)
        self._tell()

    def plan(self, schedule: Iterable[Planned]) -> None:
        """Replace what is to come; its seconds count from now."""
        self.state.plan(schedule, self._clock())
        self._planned.set()

    def restart(self, restart: Restart) -> None:
        """End the server's present life, and its faults with it; `restarting` is set until the next one begins."""
        self.restarting = restart
        self.alive.clear()
        self._restart_wanted.set()
        self.set(Faults())

    async def end_of_life(self) -> Restart:
        """Wait until the server is to restart."""
        await self._restart_wanted.wait()
        return self.restarting or Restart()

    def born_again(self) -> None:
        """Take note that the server's next life has begun."""
        self.restarting = None
        self._restart_wanted.clear()
        self.alive.set()

    def arrive(self) -> None:
        """Take note of a request of the API, and do what is planned for it."""
        if restart := self.state.arrive():
            self.restart(restart)
        else:
            self._tell()

    async def hang(self) -> None:
        """Wait until the faults change."""
        await self._changed.wait()

    async def run(self) -> None:
        """Do what is planned for its time, until cancelled."""
        while True:
            self._planned.clear()
            if await self._wait_for_plan(self.state.due_at()):
                continue
            if restart := self.state.advance(self._clock()):
                self.restart(restart)
            else:
                self._tell()

    async def _wait_for_plan(self, due: float | None) -> bool:
        """Return True when the schedule was replaced, False when it is due."""
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await self._planned.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        if self._slow is not None:
            self._slow(self.state.slow_factor)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
