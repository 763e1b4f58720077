"""`Child` with real processes: a ready line, an end with a story, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from igw.stack.child import Child
from igw.stack.supervisor import PartFailed

READY = 'import signal, sys; print(\'{"ready": true, "port": 7}\', flush=True); '
WAIT = "signal.pause()"
POLITE = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); "
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY


def python(code: str) -> list[str]:
    """Return the command of a Python process that runs *code*."""
    return [sys.executable, "-S", "-c", code]


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Callable[[float], bool]]:
    """Give a function that waits so many seconds for the process to be gone and says whether it is."""
    handle = os.pidfd_open(pid)
    try:
        yield lambda seconds: bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


linux = pytest.mark.skipif(sys.platform != "linux", reason="uses pidfd_open and PR_SET_PDEATHSIG")


async def test_the_ready_line_is_what_start_returns() -> None:
    """The values of the line arrive as they were written."""
    child = Child("servers", python(READY + WAIT))
    assert await child.start() == {"ready": True, "port": 7}
    await child.stop()


async def test_a_polite_process_ends_by_sigterm_with_its_own_status() -> None:
    """Stopping sends SIGTERM and waits."""
    child = Child("servers", python("import signal, sys; " + POLITE + READY + WAIT))
    await child.start()
    await child.stop()
    assert (await child.ended()).status == 0


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    """SIGKILL follows, and nothing is left."""
    child = Child("servers", python(DEAF + WAIT))
    await child.start()
    await child.stop(grace_seconds=0.05)
    assert (await child.ended()).status == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@linux
async def test_killing_takes_what_the_process_started_with_it() -> None:
    """The whole session of the process goes."""
    code = (
        "import json, signal, subprocess, sys\n"
        "other = subprocess.Popen([sys.executable, '-S', '-c', 'import signal; signal.pause()'])\n"
        "print(json.dumps({'ready': True, 'pid': other.pid}), flush=True)\n"
        "signal.pause()\n"
    )
    child = Child("servers", python(code))
    with watched((await child.start())["pid"]) as gone:
        child.kill()
        assert (await child.ended()).status == -signal.SIGKILL
        assert gone(5)
    await child.stop()


async def test_a_process_that_ends_before_it_is_ready_says_why() -> None:
    """The exit status and the last lines of standard error are in the message."""
    code = "import sys; [print('line', n, file=sys.stderr) for n in range(30)]; sys.exit(3)"
    with pytest.raises(PartFailed) as failure:
        await Child("endpoint picker", python(code)).start()
    text = str(failure.value)
    assert text.startswith(
        "endpoint picker: ended before it was ready, exit status 3; its last lines:\n  line 10\n"
    )
    assert text.endswith("line 29")


async def test_a_refusal_in_one_sentence_is_the_message() -> None:
    """A configuration error of a part reads like one of ours; the command's name in front of it is dropped."""
    with pytest.raises(PartFailed) as failure:
        await Child(
            "endpoint picker", python("import sys; sys.exit('igw epp: pool.yaml: no such kind')")
        ).start()
    assert str(failure.value) == "endpoint picker: pool.yaml: no such kind"


async def test_a_process_that_never_gets_ready_is_told_after_the_time_is_up() -> None:
    """The start does not wait for ever."""
    child = Child("x", python("import time; time.sleep(60)"))
    with pytest.raises(PartFailed, match=r"not ready within 0\.05 s"):
        await child.start(within_seconds=0.05)
    await child.stop()


async def test_a_first_line_that_is_no_ready_line_is_refused() -> None:
    """Noise on standard output is not taken for readiness."""
    child = Child("x", python("import signal; print('hello', flush=True); signal.pause()"))
    with pytest.raises(PartFailed, match="no ready line: 'hello'"):
        await child.start()
    await child.stop()


async def test_lines_of_standard_error_are_passed_on_from_readiness_and_long_ones_are_cut() -> None:
    """Nothing is lost, nothing grows without bound."""
    heard: list[str] = []
    code = (
        "import sys; print('early', file=sys.stderr, flush=True); "
        + READY
        + "print('x' * 10_000_000, file=sys.stderr); print('late', file=sys.stderr)"
    )
    child = Child("x", python(code), relay=heard.append)
    await child.start()
    assert (await child.ended()).last_lines == tuple(heard)
    await child.stop()
    assert [line[:5] for line in heard] == ["early", "xxxxx", "late"]
    assert len(heard[1]) == 4096


async def test_a_talkative_process_is_not_stopped_by_a_full_pipe() -> None:
    """Standard output after the ready line is read and dropped."""
    code = READY + "sys.stdout.write('x' * 1_000_000); sys.stdout.flush(); sys.exit(4)"
    child = Child("x", python(code))
    await child.start()
    assert (await child.ended()).status == 4
    await child.stop()


async def test_stopping_what_never_started_is_harmless() -> None:
    """A start that was cancelled leaves nothing to do."""
    await Child("x", ["/nowhere"]).stop()


async def test_the_environment_is_added_to_ours() -> None:
    """The process sees both."""
    code = "import os, json; print(json.dumps({'ready': True, 'a': os.environ['ADDED'], 'p': 'PATH' in os.environ}))"
    child = Child("x", python(code), environment={"ADDED": "yes"})
    assert await child.start() == {"ready": True, "a": "yes", "p": True}
    await child.stop()


@linux
async def test_a_process_dies_with_the_one_that_started_it() -> None:
    """A killed parent leaves no orphan."""
    code = (
        "import asyncio, sys\n"
        "from igw.stack.child import Child\n"
        "async def main():\n"
        "    child = Child('x', [sys.executable, '-S', '-c', sys.argv[1]])\n"
        "    await child.start()\n"
        "    print(child.pid, flush=True)\n"
        "    await child.ended()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, READY + WAIT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    with watched(int(await parent.stdout.readline())) as gone:
        assert not gone(0)
        parent.kill()
        await parent.wait()
        assert gone(5)
