"""Several runs in processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import msgspec
import pytest

from igw.errors import ConfigError
from igw.lab.jobs import Job, WorkerLost, run_all
from igw.lab.runner import run
from igw.lab.scenario import Scenario
from igw.simulator.manifest import Hardware
from tests.lab.small import SMALL, singles, spec

SHORT = Scenario(name="short", workload=singles(*[(n * 0.1, 400, 60) for n in range(60)]), servers=(SMALL,))
LONG = Scenario(name="long", workload=singles(*[(n * 0.2, 400, 600) for n in range(3000)]), servers=(SMALL,))


def test_processes_give_the_same_bytes_as_this_one_in_the_order_of_the_jobs() -> None:
    """Other interpreters hash strings differently; nothing may depend on it."""
    jobs = [
        Job(SHORT, policy, seed) for policy in ("default", "session", "consistent-hashing") for seed in (1, 2)
    ]
    heard: list[tuple[int, float]] = []
    runs = run_all(jobs, 2, lambda number, share: heard.append((number, share)))
    assert [(made.policy, made.seed) for made in runs] == [(job.policy, job.seed) for job in jobs]
    for job, made in zip(jobs, runs, strict=True):
        assert msgspec.json.encode(made) == msgspec.json.encode(run(job.scenario, job.policy, job.seed))
    assert {(number, 1.0) for number in range(len(jobs))} <= set(heard)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_gives_what_there_is(processes: int) -> None:
    """Runs under way are marked as partial, those not begun are missing, and the next interrupt is one again."""
    before = signal.getsignal(signal.SIGINT)
    interrupted = threading.Event()

    def heard(_number: int, _share: float) -> None:
        if not interrupted.is_set():
            interrupted.set()
            os.kill(os.getpid(), signal.SIGINT)

    runs = run_all([Job(LONG, "default", seed) for seed in range(4)], processes, heard)
    assert len(runs) == processes
    assert any(made.partial for made in runs)
    assert all(len(made.records) < 3000 for made in runs if made.partial)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_unknown_policy_is_told_before_anything_runs() -> None:
    """However late its turn would come."""
    with pytest.raises(ConfigError, match="did you mean default"):
        run_all([Job(LONG, "default", 1), Job(LONG, "defualt", 1)], 2, lambda *_: pytest.fail("it ran"))


def test_a_process_that_dies_is_named() -> None:
    """Out of memory, say: no answer will come."""
    with pytest.raises(WorkerLost, match=r"default on long \(seed [12]\) died"):
        run_all([Job(LONG, "default", seed) for seed in (1, 2)], 2, lambda *_: _kill())
    assert not multiprocessing.active_children()


def test_an_error_in_a_run_is_raised_here() -> None:
    """With its own message."""
    odd = msgspec.structs.replace(SHORT, servers=(spec(hardware=Hardware(calibration="abacus")),))
    with pytest.raises(ValueError, match="no calibration for 'abacus'"):
        run_all([Job(odd, "default", 1), Job(SHORT, "default", 1)], 2)
    assert not multiprocessing.active_children()


def _kill() -> None:
    for child in multiprocessing.active_children():
        child.kill()
