"""A running server of one test and a gRPC client of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from smg_grpc_proto.generated import vllm_engine_pb2_grpc

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.server import ModelServer


class Client:
    """A server that listens for gRPC, and a stub of its service."""

    def __init__(self, server: ModelServer, http_port: int, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.http_port = http_port
        self.channel = channel
        self.stub: Any = vllm_engine_pb2_grpc.VllmEngineStub(channel)

    async def generate(self, **request: Any) -> list[pb.GenerateResponse]:
        """Return all messages of an answer."""
        return [message async for message in self.stub.Generate(pb.GenerateRequest(**request))]

    async def complete(self, **request: Any) -> pb.GenerateComplete:
        """Return the only message of an answer that is not streamed."""
        [message] = await self.generate(**request)
        assert message.WhichOneof("response") == "complete"
        return message.complete

    async def refusal(self, call: Any) -> tuple[grpc.StatusCode, str]:
        """Return the status of a call that fails."""
        try:
            if hasattr(call, "__aiter__"):
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError("the call was not refused")

    async def idle(self) -> None:
        """Wait until the engine has nothing to do."""
        async with asyncio.timeout(30):
            await self.server.driver.idle.wait()


@asynccontextmanager
async def connected(**spec: Any) -> AsyncIterator[Client]:
    """Serve a simulator with these fields while the context is open."""
    server = ModelServer(SimulatorSpec(model="demo", grpc_port=0, **spec).server())
    async with server.serving("127.0.0.1", 0) as port:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            yield Client(server, port, channel)
