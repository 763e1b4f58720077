"""Upstream's acceptance cases for gRPC requests (`vllmgrpc-parser`), through a real gRPC channel and the whole picker but scraping."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as engine

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.extproc.server import SERVICE
from igw.parsing.grpc_frames import framed

LEAST_LOADED = ((3, 0.2), (0, 0.1), (10, 0.2))
"""Requests waiting and share of KV memory in use, of .1, .2 and .3."""

MANIFESTS = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: p}
spec:
  selector: {matchLabels: {app: p}}
  targetPorts: [{number: 8000}]
  appProtocol: kubernetes.io/h2c
  endpointPickerRef: {name: epp, port: {number: 9002}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: inference-objective-with-priority-4}
spec: {priority: 4, poolRef: {name: p}}
---
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: vllmgrpc-parser}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: prefix-cache-scorer}
- {type: lora-affinity-scorer}
requestHandler: {parsers: [{pluginRef: vllmgrpc-parser}]}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer}
  - {pluginRef: kv-cache-utilization-scorer}
  - {pluginRef: prefix-cache-scorer}
  - {pluginRef: lora-affinity-scorer}
"""

GENERATE = framed(engine.GenerateRequest(request_id="r", text="hello").SerializeToString())
STREAM = framed(engine.GenerateRequest(request_id="r", text="hello", stream=True).SerializeToString())
EMBED = framed(engine.EmbedRequest(tokenized=engine.TokenizedInput(input_ids=[1, 2])).SerializeToString())
PIECE = framed(engine.GenerateResponse(chunk=engine.GenerateStreamChunk(token_ids=[1])).SerializeToString())
COMPLETE = framed(
    engine.GenerateResponse(
        complete=engine.GenerateComplete(output_ids=range(10), prompt_tokens=7, completion_tokens=10)
    ).SerializeToString()
)


class Cases:
    """A picker behind a channel, and what its metrics say."""

    def __init__(self, picker: Picker, call: Any) -> None:
        self._picker = picker
        self._call = call

    async def exchange(self, *messages: pb.ProcessingRequest) -> list[Any]:
        """Send all of *messages*, end the exchange, return all replies."""
        return [reply async for reply in self._call(iter(messages))]

    def metric(self, name: str, priority: str = "0", **labels: str) -> float | None:
        """Return a series of requests of no model, None if there is none."""
        of = {"model_name": "", "target_model_name": "", "fairness_id": "default-flow", "priority": priority}
        return self._picker._families.registry.get_sample_value(name, of | labels)

    def open(self) -> int:
        """Return how many reservations have not ended."""
        return self._picker._ledger.statistics().open


@contextlib.asynccontextmanager
async def cases(folder: Path, *loads: tuple[int, float]) -> AsyncIterator[Cases]:
    """Serve a pool with one endpoint for each of *loads*."""
    path = folder / "pool.yaml"
    endpoints = [
        f"- {{name: pod-{n}, address: 192.168.1.{n}, port: 8000, labels: {{app: p}}}}\n"
        for n in range(1, len(loads) + 1)
    ]
    path.write_text(MANIFESTS + ("---\nendpoints:\n" + "".join(endpoints) if loads else ""))
    picker = Picker(PickerSettings(paths=(path,)))
    picker.use(load([path]))
    columns = picker._pools.columns_of("default/p")
    assert columns is not None
    for number, (waiting, kv_usage) in enumerate(loads, 1):
        columns.report(f"192.168.1.{number}:8000", waiting, 0, kv_usage)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((picker.extproc.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Cases(
            picker,
            channel.stream_stream(
                f"/{SERVICE}/Process",
                request_serializer=pb.ProcessingRequest.SerializeToString,
                response_deserializer=pb.ProcessingResponse.FromString,
            ),
        )
    await server.stop(None)


def headers(
    method: str = "Generate", *, end: bool = False, subset: Iterable[str] | None = None, **extra: str
) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    message.request_headers.end_of_stream = end
    pairs = {
        ":path": f"/vllm.grpc.engine.VllmEngine/{method}", ":method": "POST",
        "content-type": "application/grpc", "te": "trailers", "x-request-id": "test-request-id",
    } | {name.replace("_", "-"): value for name, value in extra.items()}  # fmt: skip
    for key, value in pairs.items():
        message.request_headers.headers.headers.add(key=key, value=value)
    if subset is not None:
        hint = struct_pb2.Struct()
        hint.update({"x-gateway-destination-endpoint-subset": list(subset)})
        message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(hint)
    return message


def body(data: bytes, end: bool = True) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


def answer(*data: bytes, grpc_status: str = "0") -> list[pb.ProcessingRequest]:
    """Return an answer in pieces, and its trailers."""
    begin, end = pb.ProcessingRequest(), pb.ProcessingRequest()
    for key, value in ((":status", "200"), ("content-type", "application/grpc")):
        begin.response_headers.headers.headers.add(key=key, raw_value=value.encode())
    end.response_trailers.trailers.headers.add(key="grpc-status", raw_value=grpc_status.encode())
    pieces = [pb.ProcessingRequest(response_body=pb.HttpBody(body=piece)) for piece in data]
    return [begin, *pieces, end]


def routed_to(replies: list[Any]) -> str:
    """Return where a request went, by header and metadata alike."""
    (header,) = replies[0].request_headers.response.header_mutation.set_headers
    destination = str(header.header.raw_value.decode())
    assert destination == replies[0].dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    return destination


def passed(replies: list[Any], part: str = "request_body") -> list[tuple[bytes, bool]]:
    """Return the pieces of a body that go on, each with whether it is the last."""
    pieces = [
        getattr(reply, part).response.body_mutation.streamed_response
        for reply in replies
        if reply.WhichOneof("response") == part
    ]
    return [(piece.body, piece.end_of_stream) for piece in pieces]


@pytest.mark.parametrize(
    ("method", "frame"), [("Generate", GENERATE), ("Embed", EMBED), ("Generate", STREAM)], ids=str
)
async def test_a_call_goes_to_the_least_loaded_endpoint_with_its_frame_unchanged(
    tmp_path: Path, method: str, frame: bytes
) -> None:
    """It names no model, so metrics do not either; its objective's priority counts."""
    objective = {"x_llm_d_inference_objective": "inference-objective-with-priority-4"}
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(method, **objective), body(frame))
        assert "192.168.1.2:8000" == routed_to(replies)
        assert [(frame, True)] == passed(replies)
        assert 1 == picker.metric("llm_d_epp_request_total", priority="4")


async def test_nobody_is_shed_by_default_and_without_an_objective_priority_is_0(tmp_path: Path) -> None:
    """All are busy: the least saturated one it is."""
    async with cases(tmp_path, (6, 0.2), (0, 0.85), (10, 0.9)) as picker:
        assert "192.168.1.1:8000" == routed_to(await picker.exchange(headers(), body(GENERATE)))
        assert 1 == picker.metric("llm_d_epp_request_total")


@pytest.mark.parametrize("cut", [1, 4, 5, 9, len(GENERATE) - 1])
async def test_a_frame_may_be_cut_anywhere(tmp_path: Path, cut: int) -> None:
    """It is put together again, and goes on in one piece."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(GENERATE[:cut], end=False), body(GENERATE[cut:]))
        assert "192.168.1.2:8000" == routed_to(replies)
        assert [(GENERATE, True)] == passed(replies)


async def test_without_endpoints_a_client_is_told_so_in_gRPC(tmp_path: Path) -> None:  # noqa: N802
    """503, where upstream says 500 (its W2); gRPC's UNAVAILABLE (14), under a content type that its clients take."""
    async with cases(tmp_path) as picker:
        for messages in ([headers(end=True, **{":method": "GET"})], [headers(), body(GENERATE)]):
            (reply,) = await picker.exchange(*messages)
            refusal = reply.immediate_response
            assert (503, 14) == (refusal.status.code, refusal.grpc_status.status)
            assert b"pool default/p has no endpoint that may serve this request" == refusal.body
            said = {option.header.key: option.header.raw_value for option in refusal.headers.set_headers}
            assert (b"application/grpc", b"rejected-no-endpoints") == (
                said["content-type"], said["x-llm-d-request-dropped-reason"],
            )  # fmt: skip


@pytest.mark.parametrize(
    ("subset", "picked"),
    [
        (["192.168.1.1:8000", "192.168.1.2:8000", "192.168.1.3:8000"], "192.168.1.2:8000"),
        (["192.168.1.3:8000"], "192.168.1.3:8000"),
        (["192.168.1.99:8000"], None),
    ],
    ids=["best", "partial", "none"],
)
async def test_the_gateways_subset_is_kept_to(tmp_path: Path, subset: list[str], picked: str | None) -> None:
    """However loaded its members are."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(subset=subset), body(GENERATE))
        if picked is None:
            assert 503 == replies[0].immediate_response.status.code
        else:
            assert picked == routed_to(replies)


async def test_an_answer_in_two_pieces_passes_and_ends_with_its_trailers(tmp_path: Path) -> None:
    """Each piece at once, none of them the last; the tokens are those of its only message."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(GENERATE), *answer(COMPLETE[:8], COMPLETE[8:]))
        assert [(COMPLETE[:8], False), (COMPLETE[8:], False)] == passed(replies, "response_body")
        assert "response_trailers" == replies[-1].WhichOneof("response")
        assert (7, 10) == tokens(picker)


async def test_an_answer_that_is_no_gRPC_passes_too(tmp_path: Path) -> None:  # noqa: N802
    """Nothing is learnt from it."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(GENERATE), *answer(b"no healthy upstream"))
        assert [(b"no healthy upstream", False)] == passed(replies, "response_body")
        assert (None, None) == tokens(picker)
        assert 0 == picker.open()


async def test_a_stream_ends_with_the_counts(tmp_path: Path) -> None:
    """Each message passes as it came."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(STREAM), *answer(PIECE, COMPLETE))
        assert [(PIECE, False), (COMPLETE, False)] == passed(replies, "response_body")
        assert "response_trailers" == replies[-1].WhichOneof("response")
        assert (7, 10) == tokens(picker)


async def test_an_answer_without_a_request_is_tolerated(tmp_path: Path) -> None:
    """An exchange may begin with it."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(*answer(PIECE + COMPLETE))
        assert [(PIECE + COMPLETE, False)] == passed(replies, "response_body")


async def test_a_method_that_is_not_read_is_scheduled_like_any_other(tmp_path: Path) -> None:
    """Even where no other parser is in force."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers("HealthCheck"), body(framed(b"")))
        assert "192.168.1.2:8000" == routed_to(replies)
        assert [(framed(b""), True)] == passed(replies)


async def test_a_request_that_cannot_be_read_is_an_invalid_argument(tmp_path: Path) -> None:
    """A client learns what is wrong with it, not that something is."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        (reply,) = await picker.exchange(headers(), body(b"no frame"))
        refusal = reply.immediate_response
        assert (400, 3) == (refusal.status.code, refusal.grpc_status.status)
        assert b"the request body" in refusal.body


@pytest.mark.parametrize(("status", "errors"), [("0", None), ("14", 1.0)])
async def test_what_counts_of_an_answer_is_its_gRPC_status(  # noqa: N802
    tmp_path: Path, status: str, errors: float | None
) -> None:
    """Its HTTP status is 200 whatever became of it. It is in the trailers, or in the headers if there is no message."""
    async with cases(tmp_path, *LEAST_LOADED) as picker:
        await picker.exchange(headers(), body(GENERATE), *answer(PIECE, grpc_status=status))
        assert errors == picker.metric("llm_d_epp_request_error_total", error_code="ModelServerError")
        begin, _ = answer()
        begin.response_headers.headers.headers.add(key="grpc-status", raw_value=status.encode())
        begin.response_headers.end_of_stream = True
        await picker.exchange(headers(), body(GENERATE), begin)
        assert (errors and 2 * errors) == picker.metric(
            "llm_d_epp_request_error_total", error_code="ModelServerError"
        )


def tokens(picker: Cases) -> tuple[float | None, float | None]:
    """Return the sums of tokens in and out, None where none were counted."""
    names = ("llm_d_epp_request_input_tokens", "llm_d_epp_request_output_tokens")
    first, second = [
        picker.metric(f"{name}_sum") if picker.metric(f"{name}_count") else None for name in names
    ]
    return first, second
