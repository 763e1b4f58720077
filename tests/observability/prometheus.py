"""A real Prometheus for tests: Debian's, on a free port of loopback, with rules whose waits are cut short."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.observability.files import RULES, program

WINDOW_SECONDS = 4
"""What every window of the rules and dashboards is here."""
_EVERY = "500ms"
_PATIENCE_SECONDS = 30.0


def hastened(rules: str) -> str:
    """Return *rules* with windows of seconds, so that faults need not last for minutes. Conditions stay."""
    windows = re.sub(r"\[\d+[mh]\]", f"[{WINDOW_SECONDS}s]", rules)
    windows = re.sub(r"offset \d+[mh]", f"offset {WINDOW_SECONDS}s", windows)
    return re.sub(r"for: \d+[mh]", "for: 1s", windows)


class Prometheus:
    """One that scrapes, and what it is asked."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API; an error of it is an error here."""
        async with self._http.get(f"{self._url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what *expression* is now."""
        result: list[dict[str, Any]] = (await self.ask("query", query=expression))["result"]
        return result

    async def firing(self) -> set[str]:
        """Return the alerts that fire."""
        alerts = (await self.ask("alerts"))["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def until(self, true: Callable[[], Awaitable[bool]], what: str) -> None:
        """Return once *true*() is: it tells only who asks."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not await true():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(
                f"{what}: not within {_PATIENCE_SECONDS} s; {await self.firing()} fire"
            ) from None


@contextlib.asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    """Run one that scrapes *target* (`ip:port`) and has our rules, until the block is left."""
    rules, config = folder / "rules.yaml", folder / "prometheus.yaml"
    rules.write_text(hastened(RULES.read_text()))
    config.write_text(
        yaml.safe_dump(
            {
                "global": {
                    "scrape_interval": _EVERY,
                    "scrape_timeout": _EVERY,
                    "evaluation_interval": _EVERY,
                },
                "rule_files": [str(rules)],
                "scrape_configs": [{"job_name": "epp", "static_configs": [{"targets": [target]}]}],
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        str(program("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0", "--log.format=json",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    reading: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS), aiohttp.ClientSession() as http:
            url = await _address(process.stderr)
        reading = asyncio.create_task(
            process.stderr.read()
        )  # else it would wait for somebody to read its log
        async with aiohttp.ClientSession() as http:
            yield Prometheus(f"http://{url}", http)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if reading is not None:
            await reading


async def _address(log: asyncio.StreamReader) -> str:
    """Return where it listens, as its log says, once it can be asked."""
    said, address = [], ""
    async for line in log:
        said.append(line.decode())
        event = json.loads(line)
        if event.get("msg") == "Listening on":
            address = str(event["address"])
        if "ready to receive web requests" in event.get("msg", ""):
            return address
    raise AssertionError("".join(said))
