"""A gRPC listener for one simulated server. What it answers is in `service`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from smg_grpc_proto.generated import vllm_engine_pb2_grpc

from igw.simulator.rpc import GrpcAddressError
from igw.simulator.rpc.service import VllmEngine
from igw.simulator.serving import Serving

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_CLOSE_SECONDS = 0.1


@asynccontextmanager
async def listening(serving: Serving, address: str, port: int) -> AsyncIterator[int]:
    """Serve `VllmEngine` while the context is open; yields the port. GrpcAddressError when it cannot be had."""
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("receive", "send")]
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *limits])
    vllm_engine_pb2_grpc.add_VllmEngineServicer_to_server(VllmEngine(serving), server)
    try:
        taken = server.add_insecure_port(f"{address}:{port}")
    except RuntimeError as error:
        raise GrpcAddressError(f"gRPC cannot listen on {address}:{port}: is it in use?") from error
    await server.start()
    try:
        yield taken
    finally:
        await server.stop(_CLOSE_SECONDS)
