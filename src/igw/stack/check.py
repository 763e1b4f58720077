"""The same real traffic through two fresh gateways, ours and one that takes turns, and what it showed.

What is asked is in `traffic`, how the result is read in `comparison`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import msgspec

from igw.errors import ConfigError
from igw.stack import drive, judging, pages
from igw.stack.comparison import Measured
from igw.stack.local import LocalStack, Serving
from igw.stack.report import Report
from igw.stack.settings import ON_FREE_PORTS, Settings
from igw.stack.traffic import Conversation, conversations

SEED = 20_250_801
_SETTLE_SECONDS = 5.0
"""The picker learns of an end from Envoy's access log, well within a second."""
_SCRAPE_EVERY_SECONDS = 0.05

_ROUND_ROBIN = {
    "apiVersion": "llm-d.ai/v1alpha1",
    "kind": "EndpointPickerConfig",
    "plugins": [{"type": "round-robin-picker"}],
    "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "round-robin-picker"}]}],
}


class Check:
    """Two runs, one after the other."""

    def __init__(self, paths: Sequence[Path], concurrency: int, report: Report) -> None:
        """*paths* are the manifests, *concurrency* is Envoy's."""
        self._paths = paths
        self._settings = msgspec.structs.replace(ON_FREE_PORTS, concurrency=concurrency)
        self._report = report
        self._stack: LocalStack | None = None

    async def run(self) -> list[Measured]:
        """Return what both runs showed; `ConfigError` when the OpenAI SDK is not installed."""
        if find_spec("openai") is None:
            raise ConfigError("--check", "the OpenAI SDK is not installed", "pip install 'igw[local]'")
        with TemporaryDirectory(prefix="igw-check-") as directory:
            turns = Path(directory) / "round-robin.yaml"
            turns.write_bytes(msgspec.yaml.encode(_ROUND_ROBIN))
            asked = conversations(SEED)
            return [
                await self._measure("igw", self._settings, asked),
                await self._measure(
                    "round robin", msgspec.structs.replace(self._settings, picker_config=turns), asked
                ),
            ]

    def kill(self) -> None:
        """Kill what is running at once."""
        if self._stack is not None:
            self._stack.kill()

    async def _measure(self, title: str, settings: Settings, asked: Sequence[Conversation]) -> Measured:
        self._report.heading(title)
        self._stack = LocalStack(self._paths, settings, self._report)
        try:
            serving = await self._stack.start()
            return await self._stack.run(_send(title, serving, asked))
        finally:
            await self._stack.stop()


async def _send(title: str, serving: Serving, asked: Sequence[Conversation]) -> Measured:
    judge = judging.exact if serving.is_simulated else judging.plausible
    asked = asked if serving.is_simulated else _marked(asked, uuid.uuid4().hex)
    base_url = f"http://{next(iter(serving.listeners.values()))}/v1"
    async with aiohttp.ClientSession() as session, drive.client(base_url) as talk:
        model = serving.model or await drive.first_model(talk)
        before = await _finished(session, serving.servers)
        answers = await drive.hold(talk, model, asked, judge, time.monotonic)
        after = await _finished(session, serving.servers)
        abandoned_error = ""
        try:
            await drive.abandon(talk, model, asked[0])
        except Exception as error:  # the SDK lets transport errors of several libraries through
            abandoned_error = f"{type(error).__name__}: {error}"
        left, settled_seconds = await _settle(session, serving.picker_metrics)
        page = await pages.fetch(session, serving.picker_metrics)
    return Measured(
        title=title,
        answers=tuple(answers),
        per_server=tuple(
            sorted((after[name] - before[name] for name in before if name in after), reverse=True)
        ),
        processing=pages.durations(page, pages.PROCESSING),
        scheduling=pages.durations(page, pages.SCHEDULING),
        reservations_left=left,
        settled_seconds=settled_seconds,
        abandoned_error=abandoned_error,
    )


def _marked(asked: Sequence[Conversation], mark: str) -> list[Conversation]:
    """Begin every prompt with *mark*: servers that were up before must not know them from an earlier run."""
    return [msgspec.structs.replace(one, system=f"{mark} {one.system}") for one in asked]


async def _finished(session: aiohttp.ClientSession, servers: Sequence[str]) -> dict[str, int]:
    """Return how many requests each server has answered; nothing when one does not say."""
    try:
        fetched = await asyncio.gather(*(pages.fetch(session, server) for server in servers))
    except (aiohttp.ClientError, TimeoutError):
        return {}
    return {server: pages.finished(page) for server, page in zip(servers, fetched, strict=True)}


async def _settle(session: aiohttp.ClientSession, picker_metrics: str) -> tuple[int, float]:
    """Return how many reservations are left and after how long, at most `_SETTLE_SECONDS`.

    Only the picker's page tells, so it is read again and again.
    """
    start = time.monotonic()
    while True:
        left = pages.reservations(await pages.fetch(session, picker_metrics))
        passed_seconds = time.monotonic() - start
        if not left or passed_seconds > _SETTLE_SECONDS:
            return left, passed_seconds
        await asyncio.sleep(_SCRAPE_EVERY_SECONDS)
