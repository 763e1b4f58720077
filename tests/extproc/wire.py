"""A whole picker but scraping, behind a real gRPC channel, and the messages a gateway sends it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import msgspec
import yaml
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.extproc.server import SERVICE
from igw.facts import Adapters

POOL = "vllm-qwen3-32b-pool"
OBJECTS = f"""\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {{name: {POOL}}}
spec:
  selector: {{matchLabels: {{app: p}}}}
  targetPorts: [{{number: 8000}}]
  endpointPickerRef: {{name: epp, port: {{number: 9002}}}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {{name: rewrite-test}}
spec:
  poolRef: {{name: {POOL}}}
  rules:
  - matches: [{{model: {{value: model-to-be-rewritten}}}}]
    targets: [{{modelRewrite: rewritten-model}}]
""" + "".join(
    f"---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nmetadata: {{name: {name}}}\n"
    f"spec: {{poolRef: {{name: {POOL}}}{priority}}}\n"
    for name, priority in (
        ("sql-lora", ", priority: 2"), ("sql-lora-sheddable", ""), ("my-model", ", priority: 2"),
        ("direct-model", ", priority: 2"), ("batch", ", priority: -1"),
    )
)  # fmt: skip
"""What upstream's harness sets up, and one objective that may be shed."""


SCORERS = ("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer", "lora-affinity-scorer")


def config(*others: str, ranking: tuple[str, ...] = (), parser: str = "", **parameters: Any) -> str:
    """Return a configuration of upstream's default scorers; *others* are declared, those *ranking* also part of the profile.

    *parameters* are those of the last one.
    """
    plugins: list[dict[str, Any]] = [
        {"type": name} for name in (*SCORERS, *others, *ranking, *filter(None, [parser]))
    ]
    if parameters:
        plugins[-1]["parameters"] = parameters
    document: dict[str, Any] = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
        "schedulingProfiles": [
            {"name": "default", "plugins": [{"pluginRef": name} for name in (*ranking, *SCORERS)]}
        ],
    }
    if parser:
        document["requestHandler"] = {"parsers": [{"pluginRef": parser}]}
    return "---\n" + yaml.safe_dump(document)


class Load(msgspec.Struct, frozen=True):
    """What one endpoint says of itself; `192.168.1.N:8000` unless it says otherwise."""

    waiting: float = 0
    kv_usage: float = 0.0
    adapters: tuple[str, ...] = ()
    address: str = ""
    port: int = 8000


LEAST_LOADED = (Load(3, 0.2), Load(0, 0.1), Load(10, 0.2))


class Wire:
    """A picker behind a channel, and what its metrics say."""

    def __init__(self, picker: Picker, call: Any) -> None:
        self.picker = picker
        self.call = call

    async def exchange(self, *messages: pb.ProcessingRequest, lean: bool = False) -> list[Any]:
        """Send all of *messages*, end the exchange, return all replies."""
        metadata = (("x-igw-mode", "lean"),) if lean else ()
        return [reply async for reply in self.call(iter(messages), metadata=metadata)]

    async def answered(self, *messages: pb.ProcessingRequest) -> list[Any]:
        """Return the replies to a request that is answered as if by a server, so that nothing of it stays."""
        return await self.exchange(*messages, *answer(b"{}"))

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a series by some of its labels, summed; None if there is none."""
        found = [
            sample.value
            for family in self.picker._families.registry.collect()
            for sample in family.samples
            if sample.name == f"llm_d_epp_{name}" and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def open(self) -> int:
        """Return how many reservations have not ended."""
        return self.picker._ledger.statistics().open


@contextlib.asynccontextmanager
async def wire(
    folder: Path, *loads: Load, extra: str = "", settings: PickerSettings | None = None
) -> AsyncIterator[Wire]:
    """Serve a pool with one endpoint for each of *loads*, by upstream's default plugins unless *extra* has a configuration."""
    places = [
        (each, each.address or f"192.168.1.{number}", each.port) for number, each in enumerate(loads, 1)
    ]
    endpoints = [
        f"- {{name: pod-{number}, address: '{address}', port: {port}, labels: {{app: p}}}}\n"
        for number, (_, address, port) in enumerate(places)
    ]
    path = folder / "pool.yaml"
    extra = extra if "EndpointPickerConfig" in extra else extra + config()
    path.write_text(OBJECTS + extra + ("---\nendpoints:\n" + "".join(endpoints) if endpoints else ""))
    picker = Picker(msgspec.structs.replace(settings or PickerSettings(paths=()), paths=(path,)))
    picker.use(load([path]))
    columns = picker._pools.columns_of(f"default/{POOL}")
    assert columns is not None
    for each, address, port in places:
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        columns.report(where, each.waiting, 0, each.kv_usage)
        columns.report_adapters(where, Adapters(running=frozenset(each.adapters), most=2, model="base"))
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers((picker.extproc.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Wire(picker, calling(channel))
    finally:
        await server.stop(None)


def calling(channel: grpc.aio.Channel) -> Any:
    """Return what opens exchanges over *channel*."""
    return channel.stream_stream(
        f"/{SERVICE}/Process",
        request_serializer=pb.ProcessingRequest.SerializeToString,
        response_deserializer=pb.ProcessingResponse.FromString,
    )


def headers(
    path: str = "/v1/completions",
    *,
    end: bool = False,
    subset: Any = None,
    modes: tuple[int, int] | None = None,
    **extra: str,
) -> pb.ProcessingRequest:
    """Return the headers of a request; *modes* are those of bodies, as Envoy numbers them; *extra* has `_` for `-`."""
    message = pb.ProcessingRequest()
    message.request_headers.end_of_stream = end
    pairs = {
        ":path": path, ":method": "GET" if end else "POST", "hi": "mom", "x-request-id": "test-request-id",
    } | {name.replace("_", "-"): value for name, value in extra.items()}  # fmt: skip
    for key, value in pairs.items():
        if value:
            message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    if subset is not None:
        hint(message, subset)
    if modes is not None:
        message.protocol_config.request_body_mode, message.protocol_config.response_body_mode = modes
    return message


def hint(message: pb.ProcessingRequest, subset: Any) -> None:
    """Add the gateway's subset hint to *message*."""
    said = struct_pb2.Struct()
    said.update({"x-gateway-destination-endpoint-subset": subset})
    message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(said)


def standard(model: str, target: str = "", objective: str = "", **extra: Any) -> list[pb.ProcessingRequest]:
    """Return upstream's standard request: a model, another name for it by header, an objective of the same name."""
    asked = {"x_llm_d_inference_objective": objective or model, "x_llm_d_model_name_rewrite": target or model}
    return [headers(**asked, **extra), body(prompt(model))]


def prompt(model: str) -> bytes:
    """Return upstream's standard body, its keys sorted, so that its own rewriting would keep their order."""
    said = {"max_tokens": 100, "model": model, "prompt": "test", "temperature": 0}
    return json.dumps(said, separators=(",", ":")).encode()


def body(data: bytes, end: bool = True) -> pb.ProcessingRequest:
    """Return a piece of the request's body."""
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


def trailers(part: str = "request_trailers") -> pb.ProcessingRequest:
    """Return trailers of the request, or of the answer."""
    return pb.ProcessingRequest(**{part: pb.HttpTrailers()})


def answer_headers(
    *pairs: tuple[str, str], end: bool = False, served_by: str = "", status: str = "200"
) -> pb.ProcessingRequest:
    """Return the headers of an answer, JSON unless *pairs* say otherwise."""
    message = pb.ProcessingRequest()
    message.response_headers.end_of_stream = end
    for key, value in ((":status", status), *(pairs or (("content-type", "application/json"),))):
        message.response_headers.headers.headers.add(key=key, raw_value=value.encode())
    if served_by:
        said = struct_pb2.Struct()
        said.update({"x-gateway-destination-endpoint-served": served_by})
        message.metadata_context.filter_metadata["envoy.lb"].CopyFrom(said)
    return message


def answer_body(data: bytes, end: bool = False) -> pb.ProcessingRequest:
    """Return a piece of the answer's body."""
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))


SSE = ("content-type", "text/event-stream; charset=utf-8")


def answer(*data: bytes, sse: bool = False, status: str = "200") -> list[pb.ProcessingRequest]:
    """Return an answer in pieces; the last one ends it."""
    begin = answer_headers(*((SSE,) if sse else ()), status=status)
    return [begin, *[answer_body(piece, end=at == len(data)) for at, piece in enumerate(data, 1)]]


# Replies ----------------------------------------------------------------------------------------------------------


def kinds(replies: Iterable[Any]) -> list[str]:
    """Return which part of the exchange each reply is for."""
    return [reply.WhichOneof("response") for reply in replies]


def set_headers(part: Any) -> dict[str, str]:
    """Return the headers that a reply sets: at most one of a name."""
    options = part.response.header_mutation.set_headers
    found = {option.header.key: option.header.raw_value.decode() for option in options}
    assert len(found) == len(options)
    return found


def routed_to(replies: list[Any], part: str = "request_headers") -> str:
    """Return where a request went, by header and metadata alike."""
    reply = next(each for each in replies if "envoy.lb" in each.dynamic_metadata)
    destination = set_headers(getattr(reply, part))["x-gateway-destination-endpoint"]
    assert destination == reply.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    return destination


def passed(replies: list[Any], part: str = "request_body") -> list[tuple[bytes, bool]]:
    """Return the pieces of a body that go on, each with whether it is the last."""
    pieces = [
        getattr(reply, part).response.body_mutation.streamed_response
        for reply in replies
        if reply.WhichOneof("response") == part
    ]
    return [(piece.body, piece.end_of_stream) for piece in pieces]


def refusal(replies: list[Any]) -> tuple[int, str, str]:
    """Return status, code and message of the answer that a client gets in a server's place: the last thing that is said."""
    said = replies[-1].immediate_response
    error = json.loads(said.body)["error"]
    return said.status.code, error["code"], error["message"]


def refusal_headers(replies: list[Any]) -> dict[str, str]:
    """Return the headers of such an answer."""
    options = replies[-1].immediate_response.headers.set_headers
    return {option.header.key: option.header.raw_value.decode() for option in options}
