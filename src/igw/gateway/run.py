"""A running gateway: Envoy, its configuration server, and manifests that may change. Watching files is the caller's."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Coroutine, Mapping
from typing import Any, Self, TypeVar

from igw.config.gateway_api import Gateway, Listener
from igw.config.manifests import Manifests
from igw.endpoint import hostport
from igw.errors import ConfigError
from igw.gateway.ads import AdsServer, XdsRejected
from igw.gateway.envoy import Envoy
from igw.gateway.filters import picker_cluster
from igw.gateway.listeners import listener_name
from igw.gateway.settings import GatewaySettings
from igw.gateway.translate import translate
from igw.gateway.xds import LISTENER

T = TypeVar("T")

_APPLY_SECONDS = 30.0
"""How long Envoy may take to accept a configuration, its first health checks included."""


class EnvoyExited(Exception):
    """Envoy ended by itself."""

    def __init__(self, code: int, last_lines: list[str]) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"Envoy {how}" + (": " + " | ".join(last_lines[-3:]) if last_lines else ""))
        self.code = code


class GatewayRunner:
    """Envoy serving *manifests*; an async context manager around start and stop."""

    def __init__(
        self,
        manifests: Manifests,
        settings: GatewaySettings | None = None,
        *,
        admin_port: int = 0,
        concurrency: int = 1,
    ) -> None:
        self._manifests = manifests
        self._settings = settings or GatewaySettings()
        self._admin_port = admin_port
        self._concurrency = concurrency
        self._updating = asyncio.Lock()
        self.addresses: Mapping[str, str] = {}
        """`namespace/gateway/listener` -> the `ip:port` it is bound to."""
        self.admin_address = ""
        """`ip:port` of Envoy's admin interface."""

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done when Envoy has ended, asked to or not, with its exit code."""
        return self._envoy.exited

    @property
    def pid(self) -> int:
        """Envoy's process id."""
        return self._envoy.pid

    def death(self) -> EnvoyExited:
        """Return how Envoy ended, in words; only once *exited* is done."""
        return EnvoyExited(self._envoy.exited.result(), self._envoy.last_lines)

    async def start(self) -> None:
        """Start Envoy and return once its listeners are bound.

        Raises `ConfigError` for manifests without a Gateway, a port that is taken, a configuration that Envoy
        refuses or an Envoy that is not installed; `EnvoyExited` where it ends at once.
        """
        if not self._manifests.gateways:
            raise ConfigError("the manifests", "there is no Gateway", "nothing would listen")
        self._check_ports(self._manifests)
        self._ads = AdsServer()
        await self._ads.start()
        self._envoy = Envoy(self._ads.port, admin_port=self._admin_port, concurrency=self._concurrency)
        try:
            await self._envoy.start()
            await self._apply(self._manifests)
            self.admin_address = self._envoy.admin_address
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop Envoy and everything around it; connections are closed."""
        await self._envoy.stop()
        await self._ads.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def finds_picker(self, within_seconds: float) -> bool:
        """Wait until Envoy finds its picker healthy; return whether it does.

        On a busy machine the first health check may time out. Until the next one, requests would fail open past a picker that is there.
        """
        name = picker_cluster(self._settings.picker)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                # Envoy tells nobody when a health check has passed.
                while name in await self._while_alive(self._envoy.unhealthy()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                return True
        return False

    async def update(self, manifests: Manifests) -> None:
        """Make *manifests* what is served; requests in flight go on undisturbed.

        Raises as `start` does; what was in force before then stays.
        """
        async with self._updating:
            if not manifests.gateways:
                raise ConfigError("the manifests", "there is no Gateway", "nothing would listen")
            self._check_ports(manifests)
            await self._apply(manifests)
            self._manifests = manifests

    async def _apply(self, manifests: Manifests) -> None:
        snapshot = translate(manifests, self._settings)
        try:
            async with asyncio.timeout(_APPLY_SECONDS):
                await self._while_alive(self._ads.apply(snapshot))
                self.addresses = await self._while_alive(self._bound(set(snapshot.of(LISTENER))))
        except XdsRejected as error:
            raise _refusal(error, manifests) from error
        except TimeoutError:
            raise ConfigError(
                "the manifests",
                f"Envoy did not take them within {_APPLY_SECONDS:.0f} seconds",
                "its log says more",
            ) from None

    async def _while_alive(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns; `EnvoyExited` where Envoy ends first."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self._envoy.exited), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise self.death()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _bound(self, names: set[str]) -> Mapping[str, str]:
        # Envoy has accepted the listeners and tells nobody when they are active, a few milliseconds later.
        while (bound := await self._envoy.listeners()).keys() != names:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return bound

    def _check_ports(self, manifests: Manifests) -> None:
        """Raise `ConfigError` for a port that another process has, before Envoy meets it."""
        ours = set(self.addresses.values())
        for gateway, listener, where in _listeners(manifests):
            port = 0 if self._settings.free_ports else listener.port
            if port and hostport(gateway.bind_address, port) not in ours:
                family = socket.AF_INET6 if ":" in gateway.bind_address else socket.AF_INET
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        probe.bind((gateway.bind_address, port))
                    except OSError as error:
                        raise _not_bound(where, gateway, listener, error.strerror or str(error)) from error


def _listeners(manifests: Manifests) -> list[tuple[Gateway, Listener, str]]:
    return [
        (gateway, listener, f"{manifests.sources[f'Gateway {gateway.key}']} $.spec.listeners[{index}].port")
        for gateway in manifests.gateways
        for index, listener in enumerate(gateway.spec.listeners)
    ]


def _not_bound(where: str, gateway: Gateway, listener: Listener, why: str) -> ConfigError:
    what = f"listener {listener.name} of Gateway {gateway.key}"
    return ConfigError(
        where,
        f"{what} cannot have {hostport(gateway.bind_address, listener.port)}: {why}",
        "choose another port, or stop what uses it",
    )


def _refusal(error: XdsRejected, manifests: Manifests) -> ConfigError:
    """Return Envoy's refusal as a fault of the manifests, at the listener where it was about a port."""
    if (taken := re.search(r"cannot bind '(?P<address>[^']+)': (?P<why>.*)", error.detail)) is not None:
        for gateway, listener, where in _listeners(manifests):
            if f"{listener_name(gateway, listener)}:" in error.detail or taken["address"] == hostport(
                gateway.bind_address, listener.port
            ):
                return _not_bound(where, gateway, listener, taken["why"])
    return ConfigError("the manifests", str(error))
