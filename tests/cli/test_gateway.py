"""`igw gateway` as a process: its ready line, edits, its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

MANIFESTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: igw
  listeners: [{name: http, port: 0, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route}
spec:
  parentRefs: [{name: web}]
  rules: [{matches: [{path: {value: /one}}]}]
"""


class Process:
    """A running `igw gateway`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ready(self) -> dict[str, Any]:
        """Return its ready line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            line = await self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def logged(self, text: str) -> str:
        """Return the next log line with *text*."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            async for line in self.process.stderr:
                if text in line.decode():
                    return line.decode()
        raise AssertionError(f"the log ended without {text!r}")

    async def ended(self) -> tuple[int, str, str]:
        """Return exit code, what is left of its output, and of its log."""
        async with asyncio.timeout(20):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Starts `igw gateway` with the given arguments."""
    async with AsyncExitStack() as stack:

        async def run(*arguments: str) -> Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "igw",
                "gateway",
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_end, process)
            return Process(process)

        yield run


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def _status(ready: dict[str, Any], path: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{ready['listeners']['default/web/http']}{path}") as answer,
    ):
        await answer.read()
        return answer.status


async def test_it_follows_edits_and_ignores_broken_ones(start: Any, tmp_path: Path) -> None:
    """A typo is logged with its place and changes nothing; the next good edit counts."""
    path = tmp_path / "web.yaml"
    path.write_text(MANIFESTS)
    gateway = await start("-f", str(path))
    ready = await gateway.ready()
    assert ready["ready"] is True
    assert await _status(ready, "/one") == 500  # a route without a backend
    assert await _status(ready, "/two") == 404
    path.write_text(MANIFESTS.replace("value: /one", "valeu: /one"))
    line = await gateway.logged("edit ignored")
    assert f"{path} document 2 (HTTPRoute default/route) $.spec.rules[0].matches[0].path" in line
    assert "did you mean value?" in line
    assert await _status(ready, "/one") == 500
    path.write_text(MANIFESTS.replace("/one", "/two"))
    async with asyncio.timeout(10):
        while await _status(ready, "/two") != 500:
            await asyncio.sleep(0.05)  # nobody tells a client that an edit has arrived
    assert await _status(ready, "/one") == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0(start: Any, tmp_path: Path, number: signal.Signals) -> None:
    """Envoy is gone as well."""
    (tmp_path / "web.yaml").write_text(MANIFESTS)
    gateway = await start("-f", str(tmp_path))
    ready = await gateway.ready()
    gateway.process.send_signal(number)
    code, out, _ = await gateway.ended()
    assert (code, out) == (0, "")
    with pytest.raises(aiohttp.ClientConnectorError):
        await _status(ready, "/")


async def test_it_does_not_outlive_envoy(start: Any, tmp_path: Path) -> None:
    """Exit 1 and a sentence that says how Envoy ended."""
    (tmp_path / "web.yaml").write_text(MANIFESTS)
    gateway = await start("-f", str(tmp_path))
    await gateway.ready()
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text()
    os.kill(int(children.split()[0]), signal.SIGKILL)
    code, _, err = await gateway.ended()
    assert code == 1
    assert "igw gateway: Envoy was killed by signal 9" in err


async def test_envoy_does_not_outlive_it(start: Any, tmp_path: Path) -> None:
    """Even where it is killed and can clean up nothing."""
    (tmp_path / "web.yaml").write_text(MANIFESTS)
    gateway = await start("-f", str(tmp_path))
    ready = await gateway.ready()
    gateway.process.kill()
    await gateway.ended()
    async with asyncio.timeout(5):
        with pytest.raises(aiohttp.ClientConnectorError):
            while True:
                await _status(ready, "/")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-f", "nowhere.yaml"], "igw gateway: nowhere.yaml: no such file"),
        (
            ["-f", ".", "--picker", "epp"],
            "igw gateway: --picker: 'epp' is not host:port (such as 127.0.0.1:9002)",
        ),
    ],
)
async def test_what_is_wrong_is_said_in_one_sentence(start: Any, arguments: list[str], sentence: str) -> None:
    """On standard error, with exit code 1."""
    code, out, err = await (await start(*arguments)).ended()
    assert (code, out) == (1, "")
    assert err.strip() == sentence
