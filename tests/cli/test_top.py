"""`igw top`: the overview in a terminal, from the JSON of a picker, and what is said when there is none."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys

from rich.console import Console

from igw.dashboard import terminal
from igw.dashboard.state import State
from igw.dashboard.traffic import Recent
from tests.dashboard.conftest import Desk


def top(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what `igw top` says."""
    command = [sys.executable, "-P", "-m", "igw", "top", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def drawn(desk: Desk, height: int | None = None) -> list[str]:
    """Return the lines of an overview."""
    state = State(desk.pools, desk.prefix, desk.ledger, Recent(desk.clock), desk.clock)
    console = Console(width=160, file=io.StringIO())
    with console.capture() as captured:
        console.print(terminal.overview(state.overview(desk.holding), [], height))
    return captured.get().splitlines()


async def test_it_prints_what_a_picker_says() -> None:
    """Through HTTP, as a process of its own."""
    desk = Desk(4)
    desk.fill()
    async with desk.served() as address:
        told = await asyncio.to_thread(top, "--once", "--url", address)
    assert told.returncode == 0, told.stderr
    for word in ("pool default/llama: 4 servers", "vllm-0003", "first token", "queue default/llama: 0 wait"):
        assert word in told.stdout


def test_no_picker_is_an_error_with_a_cure() -> None:
    """One sentence."""
    told = top("--once", "--url", "http://127.0.0.1:1")
    assert told.returncode == 1
    assert told.stderr.startswith("igw top: no picker answers at http://127.0.0.1:1")
    assert "--url names its metrics port" in told.stderr


def test_those_that_are_out_come_first_and_the_rest_are_counted() -> None:
    """However many there are, it fits."""
    desk = Desk(1000)
    desk.fill()
    desk.columns.fail(desk.columns.pool.endpoints[500].hostport)
    lines = drawn(desk, height=40)
    assert len(lines) <= 40
    first = next(at for at, line in enumerate(lines) if line.startswith("server ")) + 1
    assert lines[first].split()[:4] == ["vllm-0500", "failing", "20", "-"]
    assert lines[first + 1].split()[2] == "39"
    assert any("more" in line for line in lines)
    assert "1000 servers, 1 out" in "\n".join(lines)
