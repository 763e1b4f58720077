"""gRPC all the way: a client of vLLM's `VllmEngine`, the real Envoy, the real picker, simulated servers that speak it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from smg_grpc_proto.generated import vllm_engine_pb2 as pb
from smg_grpc_proto.generated import vllm_engine_pb2_grpc

from benchmarks.proxy import static_envoy
from tests.e2e.harness import Stack, stack

FLAGS = ("--speed", "20", "--grpc-port", "0")


@contextlib.asynccontextmanager
async def lean(folder: Path, servers: int = 2) -> AsyncIterator[tuple[Stack, Any]]:
    """Run a stack of ours, whose answers never leave Envoy; yields it and a stub."""
    async with stack(folder, servers, server_flags=FLAGS) as running, stub(running.url) as engine:
        yield running, engine


@contextlib.asynccontextmanager
async def full(folder: Path, servers: int = 2) -> AsyncIterator[tuple[Stack, Any]]:
    """Run a stack behind an Envoy of others, which streams bodies through the picker both ways, trailers included."""
    async with (
        stack(folder, servers, server_flags=FLAGS) as running,
        static_envoy(
            folder, picker=running.picker_addresses["grpc"], ports=running.grpc_ports, http2=True
        ) as (
            _,
            address,
        ),
        stub(f"http://{address}") as engine,
    ):
        yield running, engine


@contextlib.asynccontextmanager
async def stub(url: str) -> AsyncIterator[Any]:
    """Connect to a gateway."""
    async with grpc.aio.insecure_channel(url.removeprefix("http://")) as channel:
        yield vllm_engine_pb2_grpc.VllmEngineStub(channel)


BOTH = pytest.mark.parametrize("way", [lean, full])


def asked(*, stream: bool, tokens: int = 500) -> pb.GenerateRequest:
    return pb.GenerateRequest(
        request_id="r",
        tokenized=pb.TokenizedInput(input_ids=range(100_000, 100_000 + tokens)),
        stream=stream,
        sampling_params=pb.SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True),
    )


@BOTH
async def test_answers_come_whole_or_in_pieces_and_their_tokens_are_learnt(tmp_path: Path, way: Any) -> None:
    """The trailers end the request; the second one is sent where the first one's prompt is cached."""
    async with way(tmp_path) as (running, engine):
        whole = [message async for message in engine.Generate(asked(stream=False))]
        # A request that is still thought to be under way is work that another endpoint does not have.
        await running.becomes("igw_reservations_open", 0)
        pieces = [message async for message in engine.Generate(asked(stream=True))]
        assert ["complete"] == [message.WhichOneof("response") for message in whole]
        assert ["chunk"] * 8 + ["complete"] == [message.WhichOneof("response") for message in pieces]
        assert whole[0].complete.output_ids == pieces[-1].complete.output_ids
        assert pieces[-1].complete.cached_tokens >= 480
        await running.becomes("igw_reservations_open", 0)
        assert 2 == await running.metric("llm_d_epp_request_total")
        assert 16 == await running.metric("llm_d_epp_request_output_tokens_sum")
        assert 1000 == await running.metric("llm_d_epp_request_input_tokens_sum")
        assert 2 == await running.metric("llm_d_epp_request_ttft_seconds_count")


@BOTH
async def test_every_call_ends_its_reservation_and_every_refusal_is_a_status_with_a_sentence(
    tmp_path: Path, way: Any
) -> None:
    """Read or not, compressed or not, refused by the picker or by the model server, or given up by the client."""
    async with way(tmp_path, 1) as (running, engine):
        embedded = await engine.Embed(pb.EmbedRequest(tokenized=pb.TokenizedInput(input_ids=[1, 2, 3])))
        assert 3 == embedded.prompt_tokens
        assert (await engine.HealthCheck(pb.HealthCheckRequest())).healthy
        compressed = engine.Generate(asked(stream=False, tokens=20), compression=grpc.Compression.Gzip)
        assert 8 == len((await compressed.read()).complete.output_ids)
        await running.becomes("igw_reservations_open", 0)
        assert 3 == await running.metric("llm_d_epp_request_total")
        assert 23 == await running.metric("llm_d_epp_request_input_tokens_sum")
        assert 8 == await running.metric("llm_d_epp_request_output_tokens_sum")

        # Not a body in JSON, which no gRPC client shows anybody; the code says whether to try again.
        error = await refused(engine.Embed(pb.EmbedRequest()))
        assert grpc.StatusCode.INVALID_ARGUMENT is error.code()
        assert "`tokenized` not found in the request; Embed needs it" == error.details()
        headers = dict(error.initial_metadata()) | dict(error.trailing_metadata())
        assert "rejected-bad-request" == headers["x-llm-d-request-dropped-reason"]
        assert 1 == await running.metric("llm_d_epp_request_error_total")

        error = await refused(engine.Generate(asked(stream=False, tokens=200_000)).read())
        assert grpc.StatusCode.INVALID_ARGUMENT is error.code()
        await running.becomes("igw_reservations_open", 0)
        assert 2 == await running.metric("llm_d_epp_request_error_total")

        endless = asked(stream=True)
        endless.sampling_params.max_tokens = 100_000
        call = engine.Generate(endless)
        await call.read()
        await running.becomes("igw_reservations_open", 1)
        call.cancel()
        await running.becomes("igw_reservations_open", 0)


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Return the error that *call* ends in."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def test_a_pool_without_endpoints_is_unavailable(tmp_path: Path) -> None:
    """In words."""
    async with lean(tmp_path, 0) as (_, engine):
        error = await refused(engine.HealthCheck(pb.HealthCheckRequest()))
    assert grpc.StatusCode.UNAVAILABLE is error.code()
    assert "has no endpoint" in str(error.details())
