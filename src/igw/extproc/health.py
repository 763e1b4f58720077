"""The gRPC health service (`grpc.health.v1`) of a process that a gateway asks: what it says, and when. Where it listens is `listening`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from igw.extproc.server import SERVICE

LIVENESS = "liveness"
HEALTH_SERVICES = (LIVENESS, "readiness", SERVICE, "inference-extension", "")
"""Names that protocol 004 asks of the health service, the one that charts of upstream probe, and the empty one for any client."""

_READINESS = HEALTH_SERVICES[1:]
_TELL_SECONDS = 2.0
"""How long the gRPC port says that it stops while it still takes what comes: gateways ask it every half second or so."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Port:
    """The service on one port: what it says there."""

    def __init__(self) -> None:
        self._said = dict.fromkeys(HEALTH_SERVICES, _NOT_SERVING)
        self._changed = asyncio.Event()
        self._over = False

    def say(self, services: Iterable[str], status: int) -> None:
        """Say *status* of *services*; who watches is told."""
        self._said |= dict.fromkeys(services, status)
        self._tell()

    def end(self) -> None:
        """Let those go who watch, once they have been told; the server could not stop before."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """Say how a service is."""
        status = self._said.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"known: {', '.join(HEALTH_SERVICES[:-1])}")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say how every service is."""
        said = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._said.items()}
        return health_pb2.HealthListResponse(statuses=said)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Say how a service is, and again whenever that changes, until we stop. One that is not known may be some day, says the protocol."""
        told = None
        while True:
            changed, status = self._changed, self._said.get(request.service, _UNKNOWN)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            elif self._over:
                return
            else:
                await changed.wait()


class HealthSays:
    """What the health service says, as the process starts, serves and stops. That it is alive shows in that it answers."""

    def __init__(self) -> None:
        self.on_grpc, self.on_health = Port(), Port()
        self._stopping_at: float | None = None
        self._say((LIVENESS,), _SERVING)

    @property
    def stopping_seconds(self) -> float:
        """For how long it has been about to stop."""
        return 0.0 if self._stopping_at is None else asyncio.get_running_loop().time() - self._stopping_at

    async def serving_after(self, complete: asyncio.Event) -> None:
        """Say that everything is well once *complete* is set."""
        await complete.wait()
        self.serving()

    def serving(self) -> None:
        """Say that everything is well."""
        self._say(_READINESS, _SERVING)

    async def leaving(self, delay_seconds: float) -> None:
        """Say that no new exchange should come, and return after *delay_seconds*, in which those are taken that come all the same.

        Probes are told at once, by the health port. Who asks the gRPC port is told late: behind one address of several pickers new
        connections lead to others by then, and a proxy that goes by this one would have nobody.
        """
        self._stopping_at = asyncio.get_running_loop().time()
        self.on_health.say(_READINESS, _NOT_SERVING)
        await asyncio.sleep(max(0.0, delay_seconds - _TELL_SECONDS))
        self.on_grpc.say(_READINESS, _NOT_SERVING)
        await asyncio.sleep(min(_TELL_SECONDS, delay_seconds))
        self.on_grpc.end()

    def _say(self, services: Iterable[str], status: int) -> None:
        for port in (self.on_grpc, self.on_health):
            port.say(services, status)
