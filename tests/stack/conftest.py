"""`igw up` as a process of its own, for tests: what it prints, what it started, what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
FREE = ("--picker-port", "0", "--health-port", "0", "--metrics-port", "0", "--dashboard-port", "0")
PATIENCE_SECONDS = 30.0


class Lines:
    """The lines of a pipe, read by a thread so that one can wait for a line with patience that ends."""

    def __init__(self, pipe: IO[str]) -> None:
        self.seen: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def until(self, pattern: str, patience_seconds: float = PATIENCE_SECONDS) -> str:
        """Return the next line that has *pattern* in it."""
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with {pattern!r} in {self.seen}")
            self.seen.append(line)
            if re.search(pattern, line):
                return line

    def rest(self) -> str:
        """Return everything, once the pipe is closed."""
        self._reader.join(PATIENCE_SECONDS)
        while not self._queue.empty():
            if (line := self._queue.get()) is not None:
                self.seen.append(line)
        return "\n".join(self.seen)


class Up:
    """One `igw up`. Its temporary files go to a folder of their own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.manifests = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "igw", "up", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            start_new_session=True,
        )
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)

    def wait_ready(self) -> None:
        """Return once everything is up."""
        try:
            self.out.until("Ctrl-C stops everything")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.err.rest()}") from None

    def address(self, pattern: str) -> str:
        """Return the first `ip:port` after *pattern* in what was printed."""
        found = re.search(pattern + r"\D*?(\d+\.\d+\.\d+\.\d+:\d+)", "\n".join(self.out.seen))
        assert found, self.out.seen
        return found[1]

    @property
    def listener(self) -> str:
        """Where clients connect."""
        return self.address("listener default/gateway/http at")

    @property
    def metrics(self) -> str:
        """Where the picker's metrics are."""
        return self.address("metrics")

    def children(self) -> dict[str, int]:
        """Return the processes it has started: `sim`, `epp` and `envoy` -> process id."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    command = (stat.parent / "cmdline").read_bytes().decode().split("\0")
                    if len(command) < 5:
                        continue  # one that has ended and is not waited for yet
                    name = "envoy" if command[0].endswith("envoy") else command[4]
                    found[name] = int(stat.parent.name)
        return found

    def told(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def left_behind(self, processes: dict[str, int], addresses: list[str]) -> list[str]:
        """Return what is still there of processes, open ports and temporary files. Give what was read before the end."""
        left = [name for name, pid in processes.items() if Path(f"/proc/{pid}").exists()]
        for address in addresses:
            host, _, port = address.partition(":")
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port)), 1):
                left.append(address)
        return left + [str(path) for path in self.temporary.iterdir()]


def free_port() -> int:
    """Return a port that nobody has at the moment, for a program that does not say which one it took."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def foreign(
    command: Sequence[str], folder: Path, ready: str, patience_seconds: float, **environment: str
) -> Iterator[Lines]:
    """Run somebody else's server in a process group that ends with the block; gives its log, once a line with *ready* is there."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    assert process.stdout is not None
    log = Lines(process.stdout)
    try:
        log.until(ready, patience_seconds)
        yield log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        log.rest()


Launch = Callable[..., Up]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Give a function that starts `igw up` with these arguments; whatever the test does, it is gone afterwards."""
    with contextlib.ExitStack() as started:

        def start(*arguments: object) -> Up:
            return started.enter_context(_launched(tmp_path, *map(str, arguments)))

        yield start


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """Give a copy of examples/quickstart with its listener on any free port."""
    return _copied(tmp_path)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Give one running quickstart to the tests of a module; `stack.manifests` are its files."""
    folder = tmp_path_factory.mktemp("stack")
    manifests = _copied(folder)
    with _launched(folder, "-f", str(manifests), *FREE) as running:
        running.manifests = manifests
        running.wait_ready()
        yield running


@contextlib.contextmanager
def _launched(folder: Path, *arguments: str) -> Iterator[Up]:
    running = Up(folder, *arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for lines in (running.out, running.err):
            lines.rest()


def _copied(folder: Path) -> Path:
    copy = folder / "quickstart"
    shutil.copytree(QUICKSTART, copy)
    gateway = copy / "gateway.yaml"
    text = gateway.read_text()
    assert text.count("port: 8080") == 1
    gateway.write_text(text.replace("port: 8080", "port: 0"))
    return copy
