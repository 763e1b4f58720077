"""One run of the whole stack under a real Prometheus: what it saw while all was well, and what fired when something was broken."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.e2e.harness import MODEL, Stack, stack
from tests.observability.files import queries
from tests.observability.prometheus import WINDOW_SECONDS, Prometheus, prometheus

CONFIG = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{}]\n"
DEFAULT = CONFIG.format("{type: marginal-work-scorer}, {type: near-tie-picker}")
QUEUES = CONFIG.format("{type: queue-scorer}, {type: prefix-cache-scorer}")
BROKEN = CONFIG.format("{type: broken-scorer}")
AMPLE, HOPELESS = "60000", "0.001"
_BROKEN_PLUGIN = """import msgspec


class Broken(msgspec.Struct, frozen=True):
    type = "broken-scorer"

    def score(self, request, facts):
        raise KeyError("broken")
"""


class Query(msgspec.Struct, frozen=True):
    """What a dashboard's query came to."""

    series: int
    selectors: dict[str, int]
    """How many series each of its selectors has."""


class Recording(msgspec.Struct):
    """What was seen."""

    page: str = ""
    """The picker's metrics while all was well."""
    rules: Sequence[dict[str, Any]] = ()
    """Prometheus' own view of the rules."""
    queries: dict[str, Query] = {}
    """By dashboard, panel and letter."""
    well: set[str] = set()
    """Alerts that fired while all was well."""
    fired: dict[str, set[str]] = {}
    """By what was broken: the alerts that came."""
    ended: dict[str, bool] = {}
    """By what was broken and mended: whether they went."""


def plugin(site: Path) -> None:
    """Install a plugin that fails, in a folder that Python is to look in."""
    info = site / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "broken.py").write_text(_BROKEN_PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[igw.plugins]\nbroken-scorer = broken:Broken\n")


async def record(folder: Path) -> Recording:
    """Run everything once; *folder* is for its files."""
    made = Recording()
    config, same, other = (folder / f"{name}.yaml" for name in ("config", "same", "other"))
    config.write_text(DEFAULT)
    same.write_text(DEFAULT)
    other.write_text(QUEUES)
    shadows = (
        "--shadow-config-file",
        f"same={same}",
        "--shadow-config-file",
        f"other={other}",
        "--shadow-share",
        "1",
    )
    async with (
        stack(folder, picker_flags=("--config-file", str(config), *shadows)) as up,
        prometheus(folder, up.picker_addresses["metrics"]) as watching,
    ):
        async with traffic(up, AMPLE):
            await _see(up, watching, made)
        made.well = await watching.firing()
        faults = Faults(watching, made)
        async with traffic(up, HOPELESS):
            await faults.come("objectives are missed", "IgwSloBurnsFast", "IgwSloBurnsSlowly")
        async with traffic(up, AMPLE):
            await faults.go("objectives are missed", "IgwSloBurnsFast", "IgwSloBurnsSlowly")
            config.write_text("kind: EndpointPickerConfig\n")
            await faults.come("a file is spoilt", "IgwConfigRefused")
            config.write_text(DEFAULT)
            await faults.go("a file is spoilt", "IgwConfigRefused")
            other.write_text(BROKEN)
            await faults.come("a shadow fails", "IgwShadowOff")
            other.write_text(QUEUES)
            await faults.go("a shadow fails", "IgwShadowOff")
            await up.faults(0, rules=[{"fault": "error", "status": 503}])
            await faults.come("a server answers with errors", "IgwEndpointsEjected")
            for server in up.servers:
                await server.stop()
            await faults.come("all servers are gone", "IgwNoReadyEndpoints", "IgwErrorRateHigh")
        await up.picker.stop()
        await faults.come("the picker is gone", "IgwPickerAbsent")
    return made


class Faults:
    """What was broken, and what was said of it."""

    def __init__(self, watching: Prometheus, made: Recording) -> None:
        self._watching = watching
        self._made = made

    async def come(self, what: str, *alerts: str) -> None:
        """Wait until *alerts* fire, which they do because of *what*."""

        async def fire() -> bool:
            self._made.fired[what] = await self._watching.firing()
            return self._made.fired[what] >= set(alerts)

        await self._watching.until(fire, f"{what}: {alerts} fire")

    async def go(self, what: str, *alerts: str) -> None:
        """Wait until *alerts* do not fire any more."""

        async def quiet() -> bool:
            return self._made.ended.setdefault(what, False) or not await self._watching.firing() & set(alerts)

        await self._watching.until(quiet, f"{what} no more: {alerts} stop")
        self._made.ended[what] = True


@contextlib.asynccontextmanager
async def traffic(up: Stack, objective_milliseconds: str) -> AsyncIterator[None]:
    """Send requests until the block is left, a few at a time; some want a stream, some wait in a queue of their own."""
    headers = {
        "content-type": "application/json",
        "x-slo-ttft-ms": objective_milliseconds,
        "x-igw-slo-e2e-ms": objective_milliseconds,
    }
    stop = asyncio.Event()

    async def client(number: int) -> None:
        sent = 0
        while not stop.is_set():
            sent += 1
            body = {
                "model": MODEL,
                "messages": [
                    {
                        "role": "user",
                        "content": f"client {number % 2}: " + "tell me more " * 200 + str(sent % 3),
                    }
                ],
                "max_tokens": 8,
                "stream": bool(number),
                **({"stream_options": {"include_usage": True}} if number else {}),
            }
            with contextlib.suppress(aiohttp.ClientPayloadError):  # of a server that is stopped
                async with up.http.post(
                    f"{up.url}/v1/chat/completions",
                    json=body,
                    headers=headers | {"x-gateway-inference-fairness-id": f"tenant-{number}"},
                ) as response:
                    await response.read()
            await asyncio.sleep(0.02)

    clients = [asyncio.create_task(client(number)) for number in range(3)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*clients)


async def _see(up: Stack, watching: Prometheus, made: Recording) -> None:
    """Record what there is to see while all is well, once windows are full."""
    full = f"count_over_time(igw_reservations_open[{WINDOW_SECONDS + 2}s]) > {WINDOW_SECONDS / 0.5}"
    await watching.until(lambda: _any(watching, full), "windows are full")
    async with up.http.get(f"http://{up.picker_addresses['metrics']}/metrics") as response:
        made.page = await response.text()
    made.rules = [rule for group in (await watching.ask("rules"))["groups"] for rule in group["rules"]]
    for name, expression in queries().items():
        concrete = (
            expression.replace("$__rate_interval", f"{WINDOW_SECONDS}s")
            .replace("$job", ".*")
            .replace("$model", ".*")
        )
        selectors = re.findall(r"\b[a-z]\w*\{[^}]*\}", concrete)
        counts = {selector: len(await watching.query(selector)) for selector in selectors}
        made.queries[name] = Query(len(await watching.query(concrete)), counts)


async def _any(watching: Prometheus, expression: str) -> bool:
    return bool(await watching.query(expression))
