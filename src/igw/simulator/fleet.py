"""Starts the servers of some simulators in this process and says where they listen.

What each of them does is in `server`; where the objects come from, in `manifest`.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from igw.errors import ConfigError
from igw.simulator.manifest import Simulator, checked_server
from igw.simulator.server import ModelServer


class SimulatedEndpoint(msgspec.Struct, frozen=True):
    """One server that listens; `port` is a string, as in the files endpoints are listed in."""

    name: str
    namespace: str
    address: str
    port: str
    labels: dict[str, str]


@asynccontextmanager
async def running(simulators: Iterable[Simulator]) -> AsyncIterator[list[SimulatedEndpoint]]:
    """Serve all of them while the context is open; ConfigError when an address cannot be listened on."""
    async with AsyncExitStack() as stack:
        endpoints = []
        for simulator in simulators:
            config = checked_server(simulator)
            for number in range(simulator.spec.replicas):
                server = ModelServer(config)
                port = await _listen(stack, server, simulator, number)
                endpoints.append(_endpoint(simulator, number, port))
        yield endpoints


async def _listen(stack: AsyncExitStack, server: ModelServer, simulator: Simulator, number: int) -> int:
    address, first = simulator.spec.address, simulator.spec.first_port
    port = first + number if first else 0
    try:
        return await stack.enter_async_context(server.serving(address, port))
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        problem = "is already in use" if taken else f"cannot be listened on: {error}"
        hint = "set firstPort (--port) to another port, or to 0 for free ports"
        raise ConfigError(
            f"{simulator.title}: spec.firstPort", f"{address}:{port} {problem}", hint
        ) from error


def _endpoint(simulator: Simulator, number: int, port: int) -> SimulatedEndpoint:
    return SimulatedEndpoint(
        name=f"{simulator.metadata.name}-{number}",
        namespace=simulator.metadata.namespace,
        address=simulator.spec.address,
        port=str(port),
        labels=simulator.spec.labels,
    )
