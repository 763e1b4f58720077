"""Parts started one after the other, watched, and stopped in the opposite order.

What a part is made of is not here: a process is in `child`, Envoy in `parts`.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class Ended(msgspec.Struct, frozen=True):
    """How a part ended."""

    name: str
    status: int
    """The exit status; a negative one is the number of the signal that ended it."""
    last_lines: tuple[str, ...] = ()
    """The last lines of its standard error."""

    @property
    def how(self) -> str:
        """`exit status 3` or `signal SIGSEGV`."""
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"signal {signal.Signals(-self.status).name}"
        except ValueError:
            return f"signal {-self.status}"


class PartFailed(Exception):
    """A part that did not come up, or died while it was needed; the text is for a person."""

    def __init__(self, name: str, problem: str, last_lines: tuple[str, ...] = ()) -> None:
        said = "".join(f"\n  {line}" for line in last_lines)
        super().__init__(f"{name}: {problem}" + (f"; its last lines:{said}" if said else ""))

    @classmethod
    def of(cls, ended: Ended, *, before_ready: bool = False) -> PartFailed:
        """Return the failure that *ended* is: its own sentence when it refused to start with one."""
        if before_ready and ended.status == 1 and len(ended.last_lines) == 1:
            return cls(ended.name, re.sub(r"^igw \w+: ", "", ended.last_lines[0]))
        when = "ended before it was ready" if before_ready else "ended"
        return cls(ended.name, f"{when}, {ended.how}", ended.last_lines)


class Part(Protocol):
    """Something that runs beside us until it is stopped."""

    @property
    def name(self) -> str:
        """What a person calls it: `model servers`, `endpoint picker`, `Envoy`."""
        ...

    async def start(self) -> Mapping[str, Any]:
        """Return once it serves, with what it says of itself; raise when it cannot."""
        ...

    async def ended(self) -> Ended:
        """Return how it ended, once it has."""
        ...

    async def stop(self) -> None:
        """End it, politely first; nothing of it is left on return. Harmless when it never started."""
        ...

    def kill(self) -> None:
        """End it now, without waiting."""
        ...


class Supervisor:
    """Owns the parts that are up. The death of one while others start or run is told at once."""

    def __init__(self) -> None:
        self._up: list[Part] = []
        self._watches: set[asyncio.Task[Ended]] = set()

    async def bring_up(self, part: Part) -> Mapping[str, Any]:
        """Start *part* and return what it says of itself; `PartFailed` when it, or one before it, ends."""
        self._up.append(part)
        start = asyncio.create_task(part.start())
        try:
            await asyncio.wait({start, *self._watches}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not start.done():
                start.cancel()
                await asyncio.wait({start})
        if start.cancelled():
            raise PartFailed.of(await self.first_to_end())
        said = start.result()
        self._watches.add(asyncio.create_task(part.ended()))
        return said

    async def first_to_end(self) -> Ended:
        """Return how the first part to end ended; while all is well this does not return."""
        done, _ = await asyncio.wait(self._watches, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    async def take_down(self) -> None:
        """Stop every part, the last one started first; each is stopped even if another fails to."""
        for watch in self._watches:
            watch.cancel()
        failures: list[Exception] = []
        while self._up:
            try:  # one that cannot be stopped must not keep the others up; it is told below
                await self._up[-1].stop()
            except Exception as error:
                failures.append(error)
            self._up.pop()
        if failures:
            raise ExceptionGroup("parts that did not stop cleanly", failures)

    def kill(self) -> None:
        """Kill every part now; `take_down`, called or under way, then ends quickly."""
        for part in self._up:
            part.kill()
