"""A part that is a process of its own: one line of JSON when it is ready, an exit status when it is not.

Which parts there are and in what order they start is not here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from igw.gateway.launch import dying_with_us
from igw.stack.supervisor import Ended, PartFailed

_KEPT_LINES = 20
"""Lines of standard error kept for the message when a part dies."""
_LONGEST_LINE_BYTES = 4096
_LONGEST_READY_LINE_BYTES = 16 << 20
"""A ready line names every endpoint, about 150 bytes each."""
_PIPE_SECONDS = 1.0
"""How long the pipes of an ended process may stay open: a grandchild can hold them."""


async def _drain(stream: asyncio.StreamReader) -> None:
    """Read and drop: a full pipe would stop the process that writes it."""
    while await stream.read(65536):
        pass


class Child:
    """One child process, in a session of its own so that Ctrl-C at the terminal reaches only us."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        relay: Callable[[str], None] | None = None,
    ) -> None:
        """Describe the process; nothing runs yet.

        *name* is what a person calls the part. *environment* is added to ours. *relay* is given every line of
        standard error, from the moment the part is ready.
        """
        self.name = name
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._relay = relay or (lambda _line: None)
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._is_ready = False
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self, within_seconds: float = 30.0) -> Mapping[str, Any]:
        """Start the process and return what its ready line says; `PartFailed` when none comes."""
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_us(self._command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
            limit=_LONGEST_READY_LINE_BYTES,
        )
        stdout = cast("asyncio.StreamReader", self._process.stdout)
        stderr = asyncio.create_task(self._read_stderr(cast("asyncio.StreamReader", self._process.stderr)))
        ready = asyncio.create_task(stdout.readline())
        self._exit = asyncio.create_task(self._wait(self._process, stderr))
        self._tasks = [stderr, ready, self._exit]
        await asyncio.wait({ready, self._exit}, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
        # At the end of file both are on their way; the exit has the better story.
        line = ready.result() if ready.done() else None
        if line:
            said = self._understand(line)
            self._flush()
            self._tasks.append(asyncio.create_task(_drain(stdout)))
            return said
        if line is not None:
            await asyncio.wait({self._exit}, timeout=_PIPE_SECONDS)
        if self._exit.done():
            raise PartFailed.of(self._exit.result(), before_ready=True)
        problem = (
            f"not ready within {within_seconds:g} s"
            if line is None
            else "closed its output before it was ready"
        )
        raise PartFailed(self.name, problem, tuple(self._last_lines))

    async def ended(self) -> Ended:
        """Return how the process ended, once it has."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """End the process with SIGTERM, and with SIGKILL when it takes longer than *grace_seconds*."""
        if self._process is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await asyncio.wait({self._exit}, timeout=grace_seconds)
            self.kill()
        await self.ended()
        await self._close()

    def kill(self) -> None:
        """Kill the process and whatever it started in its session, at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _understand(self, line: bytes) -> Mapping[str, Any]:
        with contextlib.suppress(msgspec.MsgspecError):
            said = msgspec.json.decode(line)
            if isinstance(said, dict) and said.get("ready") is True:
                return said
        text = line.decode(errors="replace").strip()
        raise PartFailed(
            self.name, f"its first line is no ready line: {text[:200]!r}", tuple(self._last_lines)
        )

    async def _read_stderr(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:_LONGEST_LINE_BYTES]
            for line in lines:
                self._heard(line)
        if rest:
            self._heard(rest)

    def _heard(self, raw: bytes) -> None:
        line = raw[:_LONGEST_LINE_BYTES].decode(errors="replace").rstrip()
        self._last_lines.append(line)
        if self._is_ready:
            self._relay(line)

    def _flush(self) -> None:
        self._is_ready = True
        for line in self._last_lines:
            self._relay(line)

    async def _wait(self, process: asyncio.subprocess.Process, stderr: asyncio.Task[None]) -> Ended:
        status = await process.wait()
        await asyncio.wait({stderr}, timeout=_PIPE_SECONDS)
        return Ended(self.name, status, tuple(self._last_lines))

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
