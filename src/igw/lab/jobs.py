"""Several runs at once, each in a process of its own, with progress and a way to stop that keeps what there is.

What a run is, is `runner`; here is only who runs it where.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Event
from types import FrameType

import msgspec

from igw.lab import catalogue
from igw.lab.records import Run
from igw.lab.runner import run
from igw.lab.scenario import Scenario

Progress = Callable[[int, float], None]
"""`(number of the job, share that is done)`."""


class Job(msgspec.Struct, frozen=True):
    """One run to be made."""

    scenario: Scenario
    policy: str
    """A name or path for `catalogue.find`."""
    seed: int


class WorkerLost(RuntimeError):
    """A process ended without an answer: killed, or out of memory."""


def run_all(jobs: Sequence[Job], processes: int | None = None, progress: Progress | None = None) -> list[Run]:
    """Return a run per job, in the order of *jobs*.

    *processes* is by default one per CPU; with one, everything happens in this process. An interrupt (SIGINT) ends every run where it is:
    those are marked as partial, and the jobs that were not begun, the last ones, have none. A second interrupt is a `KeyboardInterrupt`.

    Raises:
        ConfigError: a policy cannot be used; told before anything runs.
        WorkerLost: a process died.
    """
    for job in jobs:
        catalogue.find(job.policy)
    count = min(processes or os.cpu_count() or 1, len(jobs))
    report = progress or _silent
    if count <= 1:
        return _here(jobs, report)
    # Fresh interpreters: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with _interrupts(stop.set) as stopped:
        return _Crew(context, jobs, count, stop, stopped, report).work()


def _here(jobs: Sequence[Job], report: Progress) -> list[Run]:
    runs: list[Run] = []
    with _interrupts(lambda: None) as stopped:
        for number, job in enumerate(jobs):
            if stopped():
                break
            runs.append(_run(job, stopped, partial(report, number)))
            report(number, 1.0)
    return runs


class _Crew:
    """Processes that take one job after another."""

    def __init__(
        self,
        context: multiprocessing.context.SpawnContext,
        jobs: Sequence[Job],
        count: int,
        stop: Event,
        stopped: Callable[[], bool],
        report: Progress,
    ) -> None:
        self._jobs = jobs
        # Not the event itself: an interrupt sets it, and would wait for ever for whom it interrupted amid looking at it.
        self._stopped = stopped
        self._report = report
        self._next = 0
        self._runs: dict[int, Run] = {}
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._working: dict[Connection, int] = {}
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_worker, args=(theirs, stop), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._give(ours)

    def work(self) -> list[Run]:
        """Return the runs once every job is done, or everybody has stopped."""
        try:
            while self._working:
                for ready in wait(list(self._working)):
                    self._hear(ready)  # type: ignore[arg-type]
        finally:
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                process.join()
        return [run for _, run in sorted(self._runs.items())]

    def _give(self, connection: Connection) -> None:
        if self._next < len(self._jobs) and not self._stopped():
            self._working[connection] = self._next
            connection.send(self._jobs[self._next])
            self._next += 1
        else:
            self._working.pop(connection, None)
            connection.close()

    def _hear(self, connection: Connection) -> None:
        number = self._working[connection]
        try:
            said: float | bytes | BaseException = connection.recv()
        except EOFError as error:
            job = self._jobs[number]
            raise WorkerLost(
                f"the process that ran {job.policy} on {job.scenario.name} (seed {job.seed}) died: "
                "killed, or out of memory"
            ) from error
        if isinstance(said, BaseException):
            raise said
        if isinstance(said, float):
            self._report(number, said)
            return
        self._runs[number] = msgspec.msgpack.decode(said, type=Run)
        self._report(number, 1.0)
        self._give(connection)


def _worker(connection: Connection, stop: Event) -> None:
    """Take jobs from *connection* until it is closed; say how far each is, then what came of it."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the terminal interrupts the whole group; the parent passes it on
    while True:
        try:
            job: Job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(msgspec.msgpack.encode(_run(job, stop.is_set, connection.send)))
        except BrokenPipeError:
            return
        except Exception as error:
            connection.send(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return *error* with its traceback as a note; another one with its words if it cannot be sent."""
    error.add_note(f"in another process:\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _run(job: Job, stopped: Callable[[], bool], say: Callable[[float], None]) -> Run:
    said = 0.0

    def look(share: float) -> bool:
        nonlocal said
        if share >= said + 0.01:
            said = share
            say(share)
        return not stopped()

    return run(job.scenario, job.policy, job.seed, look)


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Have the first interrupt call *stop*, the second be an interrupt; yields whether there was one. Only a main thread can."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        came.append(number)
        stop()

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


def _silent(_number: int, _share: float) -> None:
    return None
