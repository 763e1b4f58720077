"""A picker whose files are edited while it serves: what is kept, what is refused, and where that is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load, with_picker_config
from igw.decision import Decision
from igw.errors import ConfigError
from igw.request import Head, Request

POOL = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama}
spec:
  selector: {matchLabels: {app: llama}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: epp, port: {number: 9002}}
---
endpoints:
- {name: a, address: 127.0.0.1, port: 1, labels: {app: llama}}
- {name: b, address: 127.0.0.1, port: 2, labels: {app: llama}}
"""
CONFIG = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: round-robin-picker, name: turns}, {type: prefix-cache-scorer}]
schedulingProfiles: [{name: %s, plugins: [{pluginRef: turns}]}]
"""
TEXT = memoryview(b"once upon a time " * 200)
REQUEST = Request(Head("/v1/completions", "POST", {}), prompt=(TEXT,), prompt_bytes=len(TEXT))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A manifest and a configuration, in folders of their own."""
    manifests, config = tmp_path / "manifests", tmp_path / "config"
    manifests.mkdir()
    config.mkdir()
    (manifests / "pool.yaml").write_text(POOL)
    (config / "picker.yaml").write_text(CONFIG % "one")
    return manifests, config / "picker.yaml"


class Serving:
    """A picker that runs, with its metrics page."""

    def __init__(self, picker: Picker, metrics: str, session: aiohttp.ClientSession) -> None:
        self.picker = picker
        self._metrics = metrics
        self._session = session

    async def config(self) -> Any:
        """Return what `GET /config` says."""
        async with self._session.get(f"http://{self._metrics}/config") as answer:
            return await answer.json()

    async def until(self, holds: Callable[[Any], bool]) -> Any:
        """Ask until the answer holds; an edit is told a moment after it was made."""
        async with asyncio.timeout(30):
            while not holds(said := await self.config()):
                await asyncio.sleep(0.02)
        return said

    async def reloads(self) -> dict[str, float]:
        """Return the counter of edits by result."""
        async with self._session.get(f"http://{self._metrics}/metrics") as answer:
            page = await answer.text()
        lines = [line for line in page.splitlines() if line.startswith("igw_config_reloads_total{")]
        return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}

    async def route(self) -> Decision:
        """Decide one request."""
        return await self.picker._router.route(REQUEST)


@pytest.fixture
async def serving(files: tuple[Path, Path]) -> AsyncIterator[Serving]:
    """A picker over both files, on free ports."""
    manifests, config = files
    settings = PickerSettings(
        paths=(manifests,), config_file=config, grpc_port=0, health_port=0, metrics_port=0, drain_seconds=0
    )
    picker = Picker(settings)
    async with aiohttp.ClientSession() as session, picker.running() as addresses:
        yield Serving(picker, addresses.metrics, session)


async def test_an_edit_of_the_configuration_keeps_what_is_known(
    serving: Serving, files: tuple[Path, Path]
) -> None:
    """Load in flight, the prefix index and the turn of the picker that stayed the same."""
    first = await serving.route()
    before = serving.picker._router.scheduler
    files[1].write_text(CONFIG % "two")
    async with asyncio.timeout(30):
        while serving.picker._router.scheduler is before:
            await asyncio.sleep(0.02)
    second = await serving.route()
    assert {first.endpoint.name, second.endpoint.name} == {"a", "b"}
    assert second.matched_tokens == 0
    third = await serving.route()
    assert third.endpoint == first.endpoint
    assert third.matched_tokens > 0
    columns = serving.picker._pools.columns_of("default/llama")
    assert columns is not None
    assert columns.inflight.sum() == 3
    assert await serving.reloads() == {"applied": 1.0}


async def test_an_edit_that_cannot_be_used_is_told_and_changes_nothing(
    serving: Serving, files: tuple[Path, Path]
) -> None:
    """By the counter and by `GET /config`, until the file is good again."""
    assert (await serving.config())["refused"] is None
    before = serving.picker._router.scheduler
    files[1].write_text((CONFIG % "one").replace("prefix-cache-scorer", "prefix-cash-scorer"))
    said = await serving.until(lambda said: said["refused"] is not None)
    assert said["refused"]["where"].endswith("$.plugins[1].type")
    assert said["refused"]["problem"] == "there is no plugin type `prefix-cash-scorer`"
    assert said["refused"]["hint"] == "did you mean prefix-cache-scorer?"
    assert serving.picker._router.scheduler is before
    assert await serving.reloads() == {"refused": 1.0}
    await serving.route()
    files[1].write_text(CONFIG % "one")
    await serving.until(lambda said: said["refused"] is None)


async def test_what_is_in_force_is_told_with_its_concerns(serving: Serving, files: tuple[Path, Path]) -> None:
    """As `igw check` would warn."""
    said = await serving.config()
    assert said["source"].startswith(str(files[1]))
    assert {concern["code"] for concern in said["concerns"]} == {"IGW005"}


def test_text_wins_over_a_file_and_a_file_over_the_manifests(files: tuple[Path, Path]) -> None:
    """Each alone is enough."""
    manifests, config = files
    (manifests / "other.yaml").write_text(CONFIG % "manifest")
    read = load([manifests])

    def name(file: Path | None, text: str) -> str:
        document = with_picker_config(read, file, text).picker_config
        assert document is not None
        return str(document.body["schedulingProfiles"][0]["name"])

    assert name(None, "") == "manifest"
    assert name(config, "") == "one"
    assert name(config, CONFIG % "text") == "text"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Nonsense", "there is no kind `Nonsense`"),
        ("{", "is not YAML"),
        (POOL, "there is no EndpointPickerConfig here"),
        (CONFIG % "a" + "---\n" + CONFIG % "b", "there can be only one EndpointPickerConfig"),
    ],
)
def test_text_that_is_none_is_refused(files: tuple[Path, Path], text: str, said: str) -> None:
    """With the flag as its place."""
    with pytest.raises(ConfigError, match=said) as caught:
        with_picker_config(load([files[0]]), None, text)
    assert caught.value.where.startswith("--config-text")


def test_experimental_plugins_need_the_flag(files: tuple[Path, Path]) -> None:
    """Of the picker, as of upstream's."""
    manifests, config = files
    config.write_text((CONFIG % "one").replace("prefix-cache-scorer", "topology-affinity-scorer"))
    read = with_picker_config(load([manifests]), config)
    with pytest.raises(ConfigError, match="is experimental"):
        Picker(PickerSettings(paths=(manifests,))).use(read)
    Picker(PickerSettings(paths=(manifests,), allow_experimental=True)).use(read)
