"""The parts of a gateway on one machine: which process each is, and what it says when it serves.

Their order is in `local`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from igw.config.manifests import Manifests
from igw.gateway.run import EnvoyExited, GatewayRunner
from igw.gateway.settings import GatewaySettings
from igw.stack.child import Child
from igw.stack.settings import Settings
from igw.stack.supervisor import Ended, PartFailed

Relay = Callable[[str], None]

MODEL_SERVERS = "model servers"
ENDPOINT_PICKER = "endpoint picker"
ENVOY = "Envoy"

_PICKER_SECONDS = 10.0
"""How long Envoy may take to find a healthy picker healthy: several of its health checks."""


def model_servers(paths: Sequence[Path], directory: Path, relay: Relay) -> Child:
    """Return `igw sim`; its ready line has the `endpoints`. Temporary files go to *directory*."""
    return Child(MODEL_SERVERS, _igw("sim", *_files(paths)), environment=_temporary(directory), relay=relay)


def endpoint_picker(paths: Sequence[Path], settings: Settings, directory: Path, relay: Relay) -> Child:
    """Return `igw epp`; its ready line has the addresses `grpc`, `health`, `metrics`, `dashboard` and `waiting_room`."""
    arguments = [
        *_files(paths),
        *("--bind-address", "127.0.0.1"),
        *("--grpc-port", str(settings.picker_port)),
        *("--grpc-health-port", str(settings.health_port)),
        *("--metrics-port", str(settings.metrics_port)),
        *("--dashboard-port", str(settings.dashboard_port)),
        *("--waiting-room", "127.0.0.1:0"),
        "--explain-header",
        *("--log-level", "warning"),
    ]
    if settings.picker_config:
        arguments += ["--config-file", str(settings.picker_config)]
    if settings.allow_experimental:
        arguments.append("--allow-experimental-plugins")
    arguments += [word for shadow in settings.shadows for word in ("--shadow-config-file", shadow)]
    arguments += ["--shadow-share", str(settings.shadow_share)] if settings.shadows else []
    return Child(ENDPOINT_PICKER, _igw("epp", *arguments), environment=_temporary(directory), relay=relay)


class Envoy:
    """Envoy and the server that configures it, as one part."""

    name = ENVOY

    def __init__(self, manifests: Manifests, settings: Settings, picker: Mapping[str, str]) -> None:
        """*picker* is what the endpoint picker said when it was ready."""
        gateway = GatewaySettings(
            picker=picker["grpc"],
            waiting_room=picker.get("waiting_room", ""),
            free_ports=settings.free_listeners,
        )
        self._runner = GatewayRunner(
            manifests, gateway, admin_port=settings.admin_port, concurrency=settings.concurrency
        )
        self._is_up = False

    async def start(self) -> Mapping[str, Any]:
        """Return `listeners` (name -> address) and the `admin` address, once Envoy has taken all of it."""
        with _death_told(self.name):
            await self._runner.start()  # leaves nothing behind when it fails
            self._is_up = True
            # One that is never found healthy is the picker's fault: what is said of it says more than we could here.
            await self._runner.finds_picker(_PICKER_SECONDS)
        return {"listeners": dict(self._runner.addresses), "admin": self._runner.admin_address}

    async def update(self, manifests: Manifests) -> None:
        """Serve *manifests* from now on; `ConfigError` when Envoy will not, and then nothing has changed."""
        with _death_told(self.name):
            await self._runner.update(manifests)

    async def ended(self) -> Ended:
        """Return Envoy's end; what it logged before has been passed on already."""
        return Ended(self.name, await asyncio.shield(self._runner.exited))

    async def stop(self) -> None:
        """Stop Envoy and what configures it."""
        if self._is_up:
            await self._runner.stop()

    def kill(self) -> None:
        """Do nothing: the runner kills an Envoy that does not stop within seconds, and the kernel one we leave."""


@contextlib.contextmanager
def _death_told(name: str) -> Iterator[None]:
    try:
        yield
    except EnvoyExited as error:
        raise PartFailed(name, str(error)) from error


def _igw(*arguments: str) -> list[str]:
    # -P: a folder named igw where the user happens to be is not ours.
    return [sys.executable, "-P", "-m", "igw", *arguments]


def _files(paths: Sequence[Path]) -> list[str]:
    return [argument for path in paths for argument in ("-f", str(path))]


def _temporary(directory: Path) -> dict[str, str]:
    return {"TMPDIR": str(directory)}
