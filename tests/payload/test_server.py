"""The body-based router over real gRPC: what a gateway sends and gets, and what is counted."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import msgspec
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from prometheus_client import CollectorRegistry, generate_latest

from igw.endpoint import Pool
from igw.extproc.events import BodyMode, Modes
from igw.extproc.server import SERVICE
from igw.payload.api import Changes, Message, Refusal
from igw.payload.builtin import DEFAULT, Named
from igw.payload.server import BodyRouter

BASES = {"llama": "llama", "food": "llama"}
OWN = ["x-gateway-model-name", "x-gateway-base-model-name"]
OVERWRITE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class Models:
    """A catalogue that knows two pools."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def listed(self, pools: list[Pool]) -> dict[str, bytes]:
        self.asked.append([pool.key for pool in pools])
        return {pool.name: json.dumps({"id": pool.name}).encode() for pool in pools}


class Client:
    """A gateway's side."""

    def __init__(self, stub: Any, router: BodyRouter, registry: CollectorRegistry) -> None:
        self.stub, self.router, self._registry = stub, router, registry

    async def exchange(self, *messages: pb.ProcessingRequest, pools: str = "") -> list[Any]:
        """Send all of *messages*, end the exchange, return all replies."""
        metadata = (("x-igw-role", "bbr"), *((("x-igw-pools", pools),) if pools else ()))
        return [reply async for reply in self.stub(iter(messages), metadata=metadata)]

    def counted(self, series: str) -> float:
        """Return a series of the metrics page, 0 where it is not there."""
        page = generate_latest(self._registry).decode()
        return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(series)), 0.0)


@contextlib.asynccontextmanager
async def serving(plugins: tuple[Named, ...] = DEFAULT, **settings: Any) -> AsyncIterator[Client]:
    """Serve a router until the block is left."""
    registry, times = CollectorRegistry(), itertools.count()
    router = BodyRouter(registry, lambda: next(times) / 1000, plugins, **settings)
    router.adopt(BASES, {})
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((router.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.stream_stream(
            f"/{SERVICE}/Process",
            request_serializer=pb.ProcessingRequest.SerializeToString,
            response_deserializer=pb.ProcessingResponse.FromString,
        )
        yield Client(stub, router, registry)
    await server.stop(None)


def headers(mode: BodyMode | None = BodyMode.BUFFERED, *, end: bool = False, **extra: str) -> Any:
    """Return the first message of a request."""
    message = pb.ProcessingRequest()
    pairs = {":path": "/v1/chat/completions", ":method": "POST", "content-type": "application/json", **extra}
    for key, value in pairs.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    message.request_headers.end_of_stream = end
    if mode is not None:
        message.protocol_config.request_body_mode = mode.value
    return message


def body(data: bytes, end: bool = True) -> Any:
    """Return a piece of a request's body."""
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


def set_by(common: Any) -> dict[str, str]:
    """Return the headers that a reply sets, which must overwrite."""
    assert all(each.append_action == OVERWRITE for each in common.header_mutation.set_headers)
    return {each.header.key: each.header.raw_value.decode() for each in common.header_mutation.set_headers}


async def test_a_buffered_body_names_its_model_in_the_reply_to_the_body() -> None:
    """The route is chosen anew, the body stays."""
    async with serving() as client:
        first, second = await client.exchange(headers(), body(b'{"model":"food"}'))
        assert first == pb.ProcessingResponse(request_headers=pb.HeadersResponse())
        common = second.request_body.response
        assert set_by(common) == dict(zip(OWN, ["food", "llama"], strict=True))
        assert common.clear_route_cache
        assert not common.HasField("body_mutation")
        assert client.counted("bbr_success_total") == 1


async def test_a_streamed_body_names_its_model_in_the_reply_to_the_headers() -> None:
    """Cut inside of the name; the pieces follow."""
    async with serving() as client:
        whole = b'{"messages":[' + b" " * 70_000 + b'],"model":"food"}'
        pieces = [body(whole[:70_025], end=False), body(whole[70_025:])]
        first, *back = await client.exchange(headers(BodyMode.FULL_DUPLEX_STREAMED), *pieces)
        assert set_by(first.request_headers.response)[OWN[1]] == "llama"
        assert first.request_headers.response.clear_route_cache
        streamed = [each.request_body.response.body_mutation.streamed_response for each in back]
        assert b"".join(each.body for each in streamed) == whole
        assert [each.end_of_stream for each in streamed] == [False, True]


async def test_what_is_not_known_is_removed_not_emptied() -> None:
    """A client's own values go with it, without a body too."""
    async with serving() as client:
        for messages in (
            [headers(), body(b'{"model":"other"}')],
            [headers(), body(b"{}")],
            [headers(end=True, **{OWN[0]: "llama", OWN[1]: "llama"})],
        ):
            reply = (await client.exchange(*messages))[-1]
            common = getattr(reply, reply.WhichOneof("response")).response
            named = set_by(common)
            assert list(common.header_mutation.remove_headers) == [name for name in OWN if name not in named]
            assert common.clear_route_cache
        assert client.counted('bbr_body_field_not_found_total{field="model"}') == 2


@pytest.mark.parametrize("mode", [BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED])
async def test_errors_are_typed_and_json(mode: BodyMode) -> None:
    """A body that is no object, and one that is too large."""
    async with serving(max_body_bytes=100) as client:
        for data, status, code in ((b"[]", 400, "BadRequest"), (b"x" * 101, 413, "PayloadTooLarge")):
            reply = (await client.exchange(headers(mode), body(data)))[-1].immediate_response
            assert reply.status.code == status
            assert json.loads(reply.body)["error"]["code"] == code
            assert client.counted(f'igw_bbr_rejected_total{{error_code="{code}"}}') == 1
        assert client.counted("bbr_success_total") == 0


async def test_an_error_has_the_shape_of_its_api() -> None:
    """Anthropic's SDK reads another one."""
    async with serving() as client:
        replies = await client.exchange(headers(**{":path": "/v1/messages"}), body(b"["))
        said = json.loads(replies[-1].immediate_response.body)
        assert (said["type"], said["error"]["type"]) == ("error", "invalid_request_error")


async def test_a_gateway_that_does_not_say_how_it_sends_bodies_is_taken_by_the_flag() -> None:
    """`--streaming` or not."""
    async with serving(assumed=Modes(BodyMode.BUFFERED, BodyMode.BUFFERED)) as client:
        replies = await client.exchange(headers(None), body(b'{"model":"food"}'))
        assert [each.WhichOneof("response") for each in replies] == ["request_headers", "request_body"]
        assert not replies[0].request_headers.HasField("response")
    async with serving() as client:
        replies = await client.exchange(headers(None), body(b'{"model":"food"}'))
        assert set_by(replies[0].request_headers.response)[OWN[0]] == "food"


class Guard(msgspec.Struct, frozen=True):
    """Refuses, fails, or writes into the body, by what a field says."""

    reads: tuple[str, ...] = ("do",)
    writes: tuple[str, ...] = ()

    def process(self, message: Message, /) -> Changes:
        match message.text("do"):
            case "refuse":
                raise Refusal("Forbidden", "not you")
            case "fail":
                raise RuntimeError("a bug")
        return Changes(fields={"do": None, "seen": b"true"})


GUARD = (Named("guard", "mine", Guard()),)


async def test_a_plugin_may_refuse_with_a_status() -> None:
    """403, in OpenAI's shape, with the reason in the header."""
    async with serving(GUARD) as client:
        _, reply = await client.exchange(headers(), body(b'{"do":"refuse"}'))
        answer = reply.immediate_response
        assert answer.status.code == 403
        assert json.loads(answer.body)["error"]["message"] == "not you"
        said = {each.header.key: each.header.raw_value for each in answer.headers.set_headers}
        assert said["x-llm-d-request-dropped-reason"] == b"rejected-by-plugin"


async def test_a_plugin_that_fails_ends_its_exchange_only() -> None:
    """The proxy's failure mode decides; the next request is served."""
    async with serving(GUARD) as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.exchange(headers(), body(b'{"do":"fail"}'))
        assert error.value.code() is grpc.StatusCode.UNKNOWN
        assert "a bug" not in (error.value.details() or "")
        assert len(await client.exchange(headers(), body(b"{}"))) == 2


@pytest.mark.parametrize("mode", [BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED])
async def test_a_plugin_may_change_the_body(mode: BodyMode) -> None:
    """The length is said anew."""
    sent, wanted = b'{"n": 1.10, "do": "x"}', b'{"n":1.10,"seen":true}'
    async with serving(GUARD) as client:
        length = {"content-length": str(len(sent))}
        first, second = await client.exchange(headers(mode, **length), body(sent))
        mutation = second.request_body.response.body_mutation
        assert wanted in (mutation.body, mutation.streamed_response.body)
        common = (first.request_headers if mode is not BodyMode.BUFFERED else second.request_body).response
        assert set_by(common) == {"content-length": str(len(wanted))}


async def test_plugins_are_timed() -> None:
    """Under upstream's labels."""
    async with serving() as client:
        await client.exchange(headers(), body(b'{"model":"food"}'))
        labels = 'extension_point="request",plugin_name="{1}",plugin_type="{0}"'
        for named in DEFAULT:
            series = f"bbr_plugin_duration_seconds_count{{{labels.format(named.type, named.name)}}}"
            assert client.counted(series) == 1
        assert client.counted('bbr_info{build_ref="') == 1


def asks(path: str) -> Any:
    """Return a GET."""
    return headers(BodyMode.BUFFERED, end=True, **{":path": path, ":method": "GET"})


async def test_models_of_the_pools_that_the_gateway_names_are_listed() -> None:
    """All where it names none; one of them where the path does."""
    async with serving() as client:
        models = Models()
        client.router.adopt(BASES, {f"ns/{name}": Pool(name, "ns", ()) for name in ("a", "b", "c")})
        client.router.follow(models)  # type: ignore[arg-type]

        async def answer(path: str, pools: str = "") -> tuple[int, Any]:
            (reply,) = await client.exchange(asks(path), pools=pools)
            return reply.immediate_response.status.code, json.loads(reply.immediate_response.body)

        assert await answer("/v1/models", "ns/b,ns/a,ns/gone") == (
            200, {"object": "list", "data": [{"id": "b"}, {"id": "a"}]},
        )  # fmt: skip
        assert [each["id"] for each in (await answer("/v1/models"))[1]["data"]] == ["a", "b", "c"]
        assert await answer("/v1/models/c") == (200, {"id": "c"})
        assert (await answer("/v1/models/c", "ns/a"))[0] == 404


async def test_without_pools_questions_for_models_pass() -> None:
    """`igw bbr` with adapter maps only leaves them to the routes."""
    async with serving() as client:
        client.router.follow(Models())  # type: ignore[arg-type]
        (reply,) = await client.exchange(asks("/v1/models"))
        assert reply.WhichOneof("response") == "request_headers"


async def test_a_gateway_that_breaks_the_order_is_told() -> None:
    """As by the picker."""
    async with serving() as client:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.exchange(body(b"{}"))
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_answers_pass_piece_by_piece() -> None:
    """Each is back before the next is sent."""
    async with serving() as client:
        call = client.stub(metadata=())

        async def told(*messages: Iterable[Any]) -> list[Any]:
            return [(await call.write(each), await call.read())[1] for each in messages]

        start = headers(BodyMode.FULL_DUPLEX_STREAMED, end=True)
        start.protocol_config.response_body_mode = BodyMode.FULL_DUPLEX_STREAMED.value
        status = pb.ProcessingRequest()
        status.response_headers.headers.headers.add(key=":status", raw_value=b"200")
        await told(start, status)
        for number in range(50):
            data = bytes([number]) * 30_000
            (reply,) = await told(pb.ProcessingRequest(response_body=pb.HttpBody(body=data)))
            assert reply.response_body.response.body_mutation.streamed_response.body == data
        await call.done_writing()
