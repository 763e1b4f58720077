"""A cluster as a source: when it tells, what it tells together, and the picker's configuration beside it. Real ones are in `tests/kube`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import User

from igw.config.gateway_api import ObjectMeta
from igw.config.inference import InferencePool, PoolSpec, PortNumber, Selector
from igw.discovery.cluster import Scope
from igw.discovery.source import Found, PickerConfigFile
from igw.discovery.watching import ClusterSettings, ClusterSource
from igw.errors import ConfigError
from igw.kubernetes.mirror import Pace
from tests.kubernetes.apiserver import ApiServer, refusal

CONFIG = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue-scorer}]\n"
QUICK = Pace(first=0.001, longest=0.002, absent=0.01)


class Told:
    """What a source told."""

    def __init__(self, source: ClusterSource) -> None:
        self.source = source
        self.all: list[Found] = []
        self.errors: list[ConfigError] = []
        self.refuse = ""
        self._news = asyncio.Event()

    async def take(self, found: Found) -> None:
        self._news.set()
        if self.refuse:
            raise ConfigError("here", self.refuse)
        self.all.append(found)

    def error(self, error: ConfigError) -> None:
        self.errors.append(error)
        self._news.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not reached():
                self._news.clear()
                await self._news.wait()

    def addresses(self) -> list[str]:
        return [each.hostport for each in self.all[-1].pools["llm/own"].endpoints] if self.all else []

    def metric(self, name: str) -> dict[str, float]:
        """Return a family by the first of its labels."""
        (family,) = [each for each in self.source.collect() if each.name == name]
        return {next(iter(sample.labels.values())): sample.value for sample in family.samples}


def settings(address: str) -> ClusterSettings:
    """Return how to follow every Pod at *address* as one pool."""
    config = KubeConfig.from_server(address).get()
    assert config is not None
    spec = PoolSpec(selector=Selector(match_labels={}), target_ports=(PortNumber(number=8000),))
    meta = ObjectMeta(name="own", namespace="llm")
    pool = InferencePool(api_version="v1", kind="InferencePool", metadata=meta, spec=spec)
    return ClusterSettings(config._replace(user=User()), Scope("llm", "own", standing=pool), pace=QUICK)


@asynccontextmanager
async def followed(server: ApiServer, config: PickerConfigFile | None = None) -> AsyncIterator[Told]:
    """Follow *server*."""
    async with server.serving() as address:
        told, stop = Told(ClusterSource(settings(address), config or PickerConfigFile())), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(told.source.watch(told.source.read(), told.take, told.error, stop))
            try:
                yield told
            finally:
                stop.set()


def served(*names: str) -> ApiServer:
    """Return a server with ready Pods; they share an address, so that the last one has it."""
    server = ApiServer()
    for name in names:
        server.put(name)
    return server


async def test_nothing_is_told_before_everything_is_known() -> None:
    """Then it is told at once, and the picker may serve."""
    server = served("a")
    server.answers.extend(refusal(500) for _ in range(3))
    async with followed(server) as told:
        assert not told.source.complete.is_set()
        await told.until(lambda: bool(told.all))
        assert told.addresses() == ["10.0.0.1:8000"]
        async with asyncio.timeout(5):
            await told.source.complete.wait()


async def test_changes_that_come_together_are_told_together() -> None:
    """And what changes nothing is not told."""
    async with followed(api := served("a")) as told:
        await told.until(lambda: bool(told.all))
        for number in range(300):
            api.put("b", labels={"n": str(number)})
        last = {"n": "299"}
        await told.until(lambda: told.all[-1].pools["llm/own"].endpoints[0].labels == last)
        assert len(told.all) < 10
        before = len(told.all)
        api.put("b", labels=last)
        api.put("c", labels={"last": "x"})
        await told.until(lambda: told.all[-1].pools["llm/own"].endpoints[0].labels == {"last": "x"})
        assert len(told.all) == before + 1
        assert told.all[-1].manifests is told.all[0].manifests


async def test_the_pickers_configuration_is_a_file_all_the_same(tmp_path: Path) -> None:
    """Watched; an edit that cannot be used changes nothing and holds up no Pods."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    api = served("a")
    async with followed(api, PickerConfigFile(path)) as told:
        assert told.source.read().manifests.picker_config is not None
        await told.until(lambda: bool(told.all))
        path.write_text(CONFIG.replace("queue-scorer", "kv-cache-utilization-scorer"))
        await told.until(lambda: len(told.all) == 2)
        kept = told.all[-1].manifests.picker_config
        assert kept is not None
        assert kept.body["plugins"] == [{"type": "kv-cache-utilization-scorer"}]
        path.write_text("kind: [")
        await told.until(lambda: bool(told.errors))
        api.delete("a")
        await told.until(lambda: told.addresses() == [])
        assert told.all[-1].manifests.picker_config == kept


async def test_what_the_picker_refuses_is_said_once_and_told_again() -> None:
    """With the next change."""
    api = served("a")
    async with followed(api) as told:
        await told.until(lambda: bool(told.all))
        told.refuse = "no"
        for name in ("b", "c"):
            api.put(name, labels={"name": name})
            await asyncio.sleep(0.1)
        assert [error.problem for error in told.errors] == ["no"]
        told.refuse = ""
        api.delete("c")
        api.delete("b")
        api.put("d", labels={"name": "d"})
        await told.until(lambda: told.all[-1].pools["llm/own"].endpoints[0].labels == {"name": "d"})


async def test_how_it_does_is_measured() -> None:
    """By resource; kinds that the server does not have are known to have failed."""
    async with followed(served("a", "b")) as told:
        await told.until(lambda: bool(told.all))
        while not told.metric("igw_watch_open")["pods"]:
            await asyncio.sleep(0.01)
        assert told.metric("igw_watch_objects")["pods"] == 2
        assert told.metric("igw_watch_lists")["pods"] == 1
        assert told.metric("igw_watch_failures")["pods"] == 0
        assert told.metric("igw_watch_failures")["inferenceobjectives.llm-d.ai"] >= 1
        assert told.metric("igw_objects_refused") == {}
