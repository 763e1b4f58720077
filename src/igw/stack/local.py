"""The whole gateway on one machine: simulated model servers if the manifests have any, then the picker, then Envoy.

How a part is started and stopped is in `child` and `supervisor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec

from igw.config.manifests import Manifests, load
from igw.discovery.files import watch
from igw.discovery.snapshot import pools
from igw.endpoint import hostport
from igw.errors import ConfigError
from igw.gateway.envoy import find_binary
from igw.stack.parts import ENDPOINT_PICKER, MODEL_SERVERS, Envoy, endpoint_picker, model_servers
from igw.stack.report import Report
from igw.stack.settings import Settings
from igw.stack.supervisor import PartFailed, Supervisor

T = TypeVar("T")


class Serving(msgspec.Struct, frozen=True):
    """A gateway that is up. Addresses are `host:port`."""

    listeners: dict[str, str]
    """`namespace/gateway/listener` -> address."""
    picker_metrics: str
    servers: tuple[str, ...]
    model: str
    """The model the simulated servers serve; empty when there are none."""
    is_simulated: bool
    """Whether all servers are simulated, and were started just now; else some are the user's own."""


class LocalStack:
    """One gateway: bring it up, work with it, take it down."""

    def __init__(self, paths: Sequence[Path], settings: Settings, report: Report) -> None:
        """Nothing is read or started yet. *paths* are the manifests."""
        self._paths = tuple(paths)
        self._settings = settings
        self._report = report
        self._supervisor = Supervisor()
        self._directory: TemporaryDirectory[str] | None = None
        self._simulated: set[str] = set()

    async def run(self, work: Coroutine[None, None, T]) -> T:
        """Return what *work* returns; `PartFailed` if a part ends before it does."""
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self._supervisor.first_to_end())
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                raise PartFailed.of(watching.result())
            return working.result()
        finally:
            for task in (working, watching):
                task.cancel()
            await asyncio.wait({working, watching})

    async def start(self) -> Serving:
        """Bring everything up; `ConfigError` or `PartFailed` when that cannot be done. Call `stop` either way."""
        manifests = load(self._paths)
        self._settings.require_free_ports()
        if not manifests.gateways:
            raise ConfigError(
                ", ".join(map(str, self._paths)), "there is no Gateway", "one says where clients connect"
            )
        find_binary()  # an Envoy that is not installed is told before anything is started
        self._directory = TemporaryDirectory(prefix="igw-")
        if manifests.simulators:
            await self._start_servers(Path(self._directory.name), manifests)
        manifests = self._read = load(self._paths)
        picker = await self._start_picker(Path(self._directory.name))
        listeners = await self._start_envoy(manifests, picker)
        servers = [endpoint.hostport for pool in pools(manifests).values() for endpoint in pool.endpoints]
        return Serving(
            listeners=listeners,
            picker_metrics=picker["metrics"],
            servers=tuple(dict.fromkeys(servers)),
            model=_model(manifests),
            is_simulated=self._simulated.issuperset(servers),
        )

    async def stop(self) -> None:
        """Take everything down and leave nothing behind."""
        try:
            await self._supervisor.take_down()
        finally:
            if self._directory is not None:
                self._directory.cleanup()

    def kill(self) -> None:
        """Kill every process at once; a `stop` that is under way then has nothing to wait for."""
        self._supervisor.kill()

    async def follow_edits(self) -> None:
        """Give Envoy what the files say, whenever they say something new; the picker follows them itself."""
        await watch(self._paths, self._adopt, self._report.refused, asyncio.Event(), self._read)

    async def _start_servers(self, directory: Path, manifests: Manifests) -> None:
        relay = self._report.relay(MODEL_SERVERS)
        said = await self._supervisor.bring_up(model_servers(self._paths, directory, relay))
        self._report.servers_up(_servers(manifests), said["endpoints"])
        self._simulated = {hostport(each["address"], int(each["port"])) for each in said["endpoints"]}
        file = directory / "endpoints.yaml"
        file.write_bytes(msgspec.yaml.encode({"endpoints": said["endpoints"]}))
        self._paths = (*self._paths, file)

    async def _start_picker(self, directory: Path) -> dict[str, str]:
        relay = self._report.relay(ENDPOINT_PICKER)
        said = await self._supervisor.bring_up(endpoint_picker(self._paths, self._settings, directory, relay))
        self._report.picker_up(said)
        return dict(said)

    async def _start_envoy(self, manifests: Manifests, picker: Mapping[str, str]) -> dict[str, str]:
        self._envoy = Envoy(manifests, self._settings, picker)
        said = await self._supervisor.bring_up(self._envoy)
        self._report.envoy_up(said["listeners"], said["admin"])
        return dict(said["listeners"])

    async def _adopt(self, manifests: Manifests) -> None:
        if _bodies(manifests) != _bodies(self._read):
            self._report.warn("a Simulator was edited: that takes effect at the next start")
        await self._envoy.update(manifests)
        self._read = manifests
        self._report.adopted()


def _model(manifests: Manifests) -> str:
    return str(manifests.simulators[0].body["spec"]["model"]) if manifests.simulators else ""


def _servers(manifests: Manifests) -> dict[str, int]:
    """Return how many servers there are of each model."""
    models: dict[str, int] = {}
    for simulator in manifests.simulators:
        spec = simulator.body["spec"]
        models[str(spec["model"])] = models.get(str(spec["model"]), 0) + int(spec.get("replicas", 1))
    return models


def _bodies(manifests: Manifests) -> list[object]:
    return [simulator.body for simulator in manifests.simulators]
