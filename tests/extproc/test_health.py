"""The health service over real gRPC: three ways to ask, and what they say from start to end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from igw.extproc.health import HEALTH_SERVICES, HealthSays
from igw.extproc.listening import Limits, Ports, listen

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
READINESS = [name for name in HEALTH_SERVICES if name != "liveness"]


class Asked:
    """A process that only says how it is, and a client at each of its two ports."""

    def __init__(self, says: HealthSays, grpc_port: Any, health_port: Any) -> None:
        self.says = says
        self.ports = {"grpc": grpc_port, "health": health_port}

    async def check(self, port: str, service: str) -> int:
        """Ask once."""
        answer = await self.ports[port].Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)

    def watch(self, port: str, service: str) -> AsyncIterator[int]:
        """Ask for every change."""
        call = self.ports[port].Watch(health_pb2.HealthCheckRequest(service=service))
        return (int(answer.status) async for answer in call)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """One that has not begun to serve."""
    async with contextlib.AsyncExitStack() as stack:
        says = HealthSays()
        where = await listen(stack, Ports("127.0.0.1", 0, 0, 0), (), says, Limits(1 << 20, 5.0))
        stubs = [
            health_pb2_grpc.HealthStub(await stack.enter_async_context(grpc.aio.insecure_channel(each)))
            for each in where
        ]
        yield Asked(says, *stubs)


@pytest.mark.parametrize("port", ["grpc", "health"])
async def test_it_is_alive_before_it_is_ready(asked: Asked, port: str) -> None:
    """Ready once all is known that is needed."""
    complete = asyncio.Event()
    opening = asyncio.create_task(asked.says.serving_after(complete))
    assert await asked.check(port, "liveness") == SERVING
    assert [await asked.check(port, name) for name in READINESS] == [NOT_SERVING] * len(READINESS)
    complete.set()
    await opening
    assert [await asked.check(port, name) for name in READINESS] == [SERVING] * len(READINESS)


async def test_a_watch_tells_every_change_and_ends_when_we_stop(asked: Asked) -> None:
    """Else the server would wait for it as long as for an exchange."""
    seen = asked.watch("grpc", "readiness")
    alive = asked.watch("grpc", "liveness")
    assert await anext(seen) == NOT_SERVING
    assert await anext(alive) == SERVING
    asked.says.serving()
    assert await anext(seen) == SERVING
    await asked.says.leaving(0.0)
    assert [status async for status in seen] == [NOT_SERVING]
    assert [status async for status in alive] == []


async def test_a_watch_of_a_name_that_is_not_known_stays_open(asked: Asked) -> None:
    """As the protocol asks; a single question is answered with an error that lists the names."""
    assert await anext(asked.watch("health", "nobody")) == SERVICE_UNKNOWN
    with pytest.raises(grpc.aio.AioRpcError, match="known: liveness, readiness") as caught:
        await asked.check("health", "nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_all_names_can_be_listed(asked: Asked) -> None:
    """With how each is."""
    asked.says.serving()
    answer = await asked.ports["health"].List(health_pb2.HealthListRequest())
    assert {name: each.status for name, each in answer.statuses.items()} == dict.fromkeys(
        HEALTH_SERVICES, SERVING
    )


async def test_who_leaves_tells_probes_at_once_and_gateways_before_it_closes(asked: Asked) -> None:
    """What they are told late is told two seconds before the end; all that time it is alive."""
    asked.says.serving()
    leaving = asyncio.create_task(asked.says.leaving(2.2))
    probed = asked.watch("health", "readiness")
    while await anext(probed) != NOT_SERVING:
        pass
    assert await asked.check("grpc", "readiness") == SERVING
    told = asked.watch("grpc", "")
    assert [await anext(told), await anext(told)] == [SERVING, NOT_SERVING]
    assert not leaving.done()
    assert await asked.check("grpc", "liveness") == SERVING
    await leaving
    assert asked.says.stopping_seconds >= 2.2
