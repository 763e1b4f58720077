"""Where a server listens for gRPC."""

from __future__ import annotations

import socket

import aiohttp
import grpc
import pytest
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from smg_grpc_proto.generated import vllm_engine_pb2_grpc

from igw.errors import ConfigError
from igw.simulator.fleet import GRPC_PORT_LABEL, running
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec
from tests.simulator.rpc.client import connected


def simulator(**spec: object) -> Simulator:
    """A simulator with these fields."""
    return Simulator(metadata=Metadata(name="sim"), spec=SimulatorSpec(model="demo", **spec))  # type: ignore[arg-type]


async def test_every_replica_has_a_port_and_tells_it_in_a_label() -> None:
    """Two servers, two ports, both answer."""
    async with running([simulator(replicas=2, grpc_port=0)]) as endpoints:
        ports = [endpoint.labels[GRPC_PORT_LABEL] for endpoint in endpoints]
        assert len({*ports, *(endpoint.port for endpoint in endpoints)}) == 4
        for port in ports:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = vllm_engine_pb2_grpc.VllmEngineStub(channel)
                assert (await stub.HealthCheck(pb.HealthCheckRequest())).healthy


async def test_without_the_flag_there_is_none() -> None:
    """And no label."""
    async with running([simulator()]) as [endpoint]:
        assert endpoint.labels == {}


async def test_a_taken_port_is_one_sentence() -> None:
    """Another than that of HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"spec\.grpcPort: gRPC cannot listen on .* \(set grpcPort"):
            async with running([simulator(grpc_port=port)]):
                pytest.fail("nothing can listen on a taken port")


async def test_a_restart_keeps_the_port() -> None:
    """Clients come back to where they were."""
    async with connected(speed=100) as client:
        port = client.server.grpc_port
        before = await client.stub.GetServerInfo(pb.GetServerInfoRequest())
        state = client.server.state
        async with aiohttp.ClientSession(f"http://127.0.0.1:{client.http_port}") as http:
            async with http.post("/igw/restart", json={}) as response:
                assert response.status == 200
        await client.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        after = await client.stub.GetServerInfo(pb.GetServerInfoRequest(), wait_for_ready=True, timeout=30)
        assert client.server.grpc_port == port
        assert client.server.state is not state
        assert after.server_type == before.server_type
