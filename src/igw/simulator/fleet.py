"""Starts the servers of some simulators in this process and says where they listen.

What each of them does is in `server`; where the objects come from, in `manifest`.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product

import msgspec

from igw.errors import ConfigError
from igw.prefix.events import PORT_LABEL, REPLAY_LABEL
from igw.simulator.engine.shared import shared_tier
from igw.simulator.kv_events.config import KvEventsConfig, binds, tcp_port
from igw.simulator.kv_events.publisher import EventAddressError
from igw.simulator.manifest import Simulator, checked_server
from igw.simulator.rpc import GrpcAddressError
from igw.simulator.server import ModelServer
from igw.simulator.serving import ServerConfig

GRPC_PORT_LABEL = "igw.dev/grpc-port"
"""Label of an endpoint that listens for gRPC too, with the port for a value."""


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
        endpoints, servers = [], []
        for simulator in simulators:
            config = checked_server(simulator)
            tier = shared_tier(config.engine.shared_blocks)
            for number, (suffix, one) in enumerate(_servers(simulator, config)):
                servers.append(server := ModelServer(one, shared_tier=tier))
                port = await _listen(stack, server, simulator, number)
                endpoints.append(_endpoint(simulator, suffix, port, server))
        yield endpoints
        await asyncio.gather(*(server.drain() for server in servers))


def _servers(simulator: Simulator, config: ServerConfig) -> Iterator[tuple[str, ServerConfig]]:
    """Yield the end of each server's name and what it runs; a rank with a port of its own is a server."""
    ranks = range(config.data_parallel_size) if simulator.spec.data_parallel_external_lb else [None]
    for number, (replica, rank) in enumerate(product(range(simulator.spec.replicas), ranks)):
        suffix = f"{replica}" if rank is None else f"{replica}-rank-{rank}"
        grpc_port = config.grpc_port + number if config.grpc_port else config.grpc_port
        one = {"replica": replica, "data_parallel_rank": rank, "grpc_port": grpc_port}
        yield suffix, msgspec.structs.replace(config, **one)


async def _listen(stack: AsyncExitStack, server: ModelServer, simulator: Simulator, number: int) -> int:
    address, first = simulator.spec.address, simulator.spec.first_port
    port = first + number if first else 0
    try:
        return await stack.enter_async_context(server.serving(address, port))
    except EventAddressError as error:
        hint = "set other addresses, or a port * for free ones"
        raise ConfigError(f"{simulator.title}: spec.kvEventsConfig", str(error), hint) from error
    except GrpcAddressError as error:
        hint = "set grpcPort (--grpc-port) to another port, or to 0 for free ports"
        raise ConfigError(f"{simulator.title}: spec.grpcPort", str(error), hint) from error
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        problem = "is already in use" if taken else f"cannot be listened on: {error}"
        hint = "set firstPort (--port) to another port, or to 0 for free ports"
        raise ConfigError(
            f"{simulator.title}: spec.firstPort", f"{address}:{port} {problem}", hint
        ) from error


def _endpoint(simulator: Simulator, suffix: str, port: int, server: ModelServer) -> SimulatedEndpoint:
    labels = _event_ports(server, simulator.spec.kv_events_config) | simulator.spec.labels
    if server.grpc_port is not None:
        labels = labels | {GRPC_PORT_LABEL: str(server.grpc_port)}
    return SimulatedEndpoint(
        name=f"{simulator.metadata.name}-{suffix}",
        namespace=simulator.metadata.namespace,
        address=simulator.spec.address,
        port=str(port),
        labels=labels,
    )


def _event_ports(server: ModelServer, config: KvEventsConfig | None) -> dict[str, str]:
    """Return labels that say where a server publishes its KV events; none where it connects.

    None for several ranks behind one port either: which one a request meets is not known.
    """
    events = server.state.kv_events
    if events is None or config is None or len(events.publishers) != 1 or not binds(config.endpoint):
        return {}
    [publisher] = events.publishers
    found = {PORT_LABEL: publisher.endpoint, REPLAY_LABEL: publisher.replay_endpoint or ""}
    return {label: str(port) for label, address in found.items() if (port := tcp_port(address))}
