"""What the picker learns of a gRPC answer that it never sees, from a real Envoy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.gateway.grpc_usage import usage_filter

SERVICE = "vllm.grpc.engine.VllmEngine"


def chunk() -> bytes:
    said = pb.GenerateStreamChunk(token_ids=[1], prompt_tokens=99, completion_tokens=99)
    return pb.GenerateResponse(chunk=said).SerializeToString()


def complete(tokens: int = 10, logprobs: int = 0, **fields: int) -> bytes:
    message = pb.GenerateComplete(
        output_ids=range(100_000, 100_000 + tokens),
        prompt_tokens=7,
        completion_tokens=tokens,
        cached_tokens=4,
        **fields,
    )
    message.output_logprobs.token_logprobs.extend([0.25] * logprobs)
    return pb.GenerateResponse(complete=message).SerializeToString()


EMBEDDING = pb.EmbedResponse(
    embedding=[0.5] * 8192, prompt_tokens=300, embedding_dim=8192
).SerializeToString()

CASES = {
    "whole": ("Generate", [complete()], ("7", "10", "4")),
    "stream": ("Generate", [*[chunk()] * 50, complete()], ("7", "10", "4")),
    "choices": ("Generate", [chunk(), complete(), chunk(), complete(300, index=1)], ("7", "310", "4")),
    "in many pieces": ("Generate", [complete(40_000)], ("7", "40000", "4")),
    "with a long end": (
        "Generate",
        [complete(1000, logprobs=200_000), complete(5, index=1)],
        ("7", "1005", "4"),
    ),
    "too long": ("Generate", [complete(100_000)], ("-", "-", "-")),
    "embedding": ("Embed", [EMBEDDING], ("300", "-", "-")),
    "empty messages": ("Generate", [b"", b"", complete()], ("7", "10", "4")),
    "no message": ("Generate", [b"\xff" * 100, b"\x12\x7f", b"\x12"], ("-", "-", "-")),
    "other method": ("GetModelInfo", [complete()], ("-", "-", "-")),
}


class Engine(grpc.GenericRpcHandler):
    """Answers any call with the same messages, and a status."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.status = grpc.StatusCode.OK

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def answer(_request: bytes, context: Any) -> AsyncIterator[bytes]:
            for message in self.messages:
                yield message
            if self.status is not grpc.StatusCode.OK:
                await context.abort(self.status, handler_call_details.method)

        return grpc.unary_stream_rpc_method_handler(answer)


@pytest.fixture
async def engine(picker: Any, manifests: Any, gateway: Any, wire: Any) -> AsyncIterator[tuple[Engine, Any]]:
    """An engine behind a gateway, and a channel to the gateway."""
    made, server = Engine(), grpc.aio.server()
    server.add_generic_rpc_handlers((made,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    client = await gateway(manifests({"chat": [address]}, protocol="kubernetes.io/h2c"))
    picker.decide = lambda _asked: wire.Pick(address)
    async with grpc.aio.insecure_channel(client.runner.addresses["default/web/http"]) as channel:
        yield made, channel
    await server.stop(None)


async def test_counts_are_told_however_an_answer_is_cut(engine: tuple[Engine, Any], picker: Any) -> None:
    """What lies beyond the first 256 KiB of a message is not known; nothing that comes breaks the script, or the answer."""
    made, channel = engine
    for name, (method, messages, counts) in CASES.items():
        made.messages = messages
        call = channel.unary_stream(f"/{SERVICE}/{method}")(b"")
        assert messages == [message async for message in call], name
        log = await picker.log()
        told = tuple(log[each] for each in ("prompt_tokens", "completion_tokens", "cached_tokens"))
        assert (counts, "0") == (told, log["grpc_status"]), name


async def test_the_status_of_the_call_is_told(engine: tuple[Engine, Any], picker: Any) -> None:
    """With an answer before it or without."""
    made, channel = engine
    made.status = grpc.StatusCode.RESOURCE_EXHAUSTED
    for messages in ([chunk()], []):
        made.messages = messages
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in channel.unary_stream(f"/{SERVICE}/Generate")(b""):
                pass
        log = await picker.log()
        assert ("200", "8") == (log["status"], log["grpc_status"])


def test_the_filter_is_off_until_a_route_turns_it_on() -> None:
    """A route to a pool of another protocol does not pay for it."""
    assert usage_filter()["disabled"]
