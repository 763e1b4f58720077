"""The ext_proc service over real gRPC: what a gateway sends and gets, in both response modes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import itertools
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import msgspec
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2

from igw.columns import Columns
from igw.decision import Decision, Delivery
from igw.endpoint import Endpoint, Pool
from igw.errors import BadRequest, NoEndpoints, Rejected, TooLarge
from igw.extproc.events import PIECE_BYTES
from igw.extproc.server import SERVICE, Exchange, ExtProc, ServerSettings
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.request import Request

POOL = Pool("llama", "default", (Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.2", 8000)))
CHAT = json.dumps({"model": "llama", "messages": [{"role": "user", "content": "hi"}]}).encode()


class Harness:
    """A picker that always takes the first endpoint, with a ledger that remembers."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, Outcome]] = []
        self.started: list[int] = []
        self.ledger = Ledger(600.0, (lambda decision, outcome: self.outcomes.append((decision.id, outcome)),))
        self.columns = Columns(POOL, lambda _hostport: 0)
        self.requests: list[Request] = []
        self.fault: Exception | None = None
        self.delivery = Delivery()
        self._ids = itertools.count(1)
        self.stub: Any = None
        self.service: Any = None

    async def route(self, request: Request) -> Decision:
        self.requests.append(request)
        if self.fault is not None:
            raise self.fault
        decision = Decision(next(self._ids), request, POOL.endpoints, delivery=self.delivery)
        self.ledger.open(decision, self.columns)
        return decision

    @contextlib.asynccontextmanager
    async def serving(self, settings: ServerSettings = ServerSettings()) -> AsyncIterator[Harness]:  # noqa: B008
        times = itertools.count()
        service = self.service = ExtProc(
            self.route,
            self.ledger,
            settings,
            clock=lambda: float(next(times)),
            started=lambda decision: self.started.append(decision.id),
        )
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((service.handler(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            self.stub = channel.stream_stream(
                f"/{SERVICE}/Process",
                request_serializer=pb.ProcessingRequest.SerializeToString,
                response_deserializer=pb.ProcessingResponse.FromString,
            )
            yield self
        await server.stop(None)

    async def exchange(self, messages: Iterable[pb.ProcessingRequest], lean: bool = False) -> list[Any]:
        """Send all of *messages*, end the exchange, return all replies."""
        metadata = (("x-igw-pool", "default/llama"), ("x-igw-mode", "lean")) if lean else ()
        return [reply async for reply in self.stub(iter(messages), metadata=metadata)]


def request_headers(end: bool = False, *, body_mode: int | None = None, **extra: str) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    message.request_headers.end_of_stream = end
    path, method = ("/v1/models", "GET") if end else ("/v1/chat/completions", "POST")
    pairs = {":path": path, ":method": method, **{k.replace("_", "-"): v for k, v in extra.items()}}
    for key, value in pairs.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    if body_mode is not None:
        message.protocol_config.request_body_mode = body_mode
    return message


def request_body(data: bytes, end: bool = True) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


def response_headers(status: str = "200", end: bool = False) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    message.response_headers.headers.headers.add(key=":status", raw_value=status.encode())
    message.response_headers.end_of_stream = end
    return message


def response_body(data: bytes, end: bool) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))


async def test_the_pick_is_sent_as_header_and_as_metadata_with_the_same_value() -> None:
    """Protocol 004 asks for both; the body goes back unchanged."""
    async with Harness().serving() as harness:
        first, second = await harness.exchange(
            [request_headers(), request_body(CHAT[:9], False), request_body(CHAT[9:])]
        )
    (header,) = first.request_headers.response.header_mutation.set_headers
    assert ("x-gateway-destination-endpoint", b"10.0.0.1:8000") == (
        header.header.key,
        header.header.raw_value,
    )
    assert "10.0.0.1:8000" == first.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    piece = second.request_body.response.body_mutation.streamed_response
    assert (CHAT, True) == (piece.body, piece.end_of_stream)


async def test_what_plugins_want_said_is_set_whatever_was_there_before() -> None:
    """On the way to the model server and on the way back; a client cannot put its own in their place."""
    async with Harness().serving() as harness:
        harness.delivery = Delivery({"x-rank": "3"}, {"x-session-token": "t"})
        replies = await harness.exchange(
            [request_headers(), request_body(CHAT), response_headers(), response_body(b"{}", True)]
        )
    _, rank = replies[0].request_headers.response.header_mutation.set_headers
    (token,) = replies[2].response_headers.response.header_mutation.set_headers
    assert (rank.header.key, rank.header.raw_value) == ("x-rank", b"3")
    assert (token.header.key, token.header.raw_value) == ("x-session-token", b"t")
    overwrite = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    assert {rank.append_action, token.append_action} == {overwrite}


async def test_a_lean_exchange_leaves_its_reservation_to_the_access_log() -> None:
    """The exchange is over long before the answer; the list of endpoints serves the proxy's retries."""
    async with Harness().serving() as harness:
        replies = await harness.exchange([request_headers(body_mode=2), request_body(CHAT)], lean=True)
        assert ["request_headers", "request_body"] == [reply.WhichOneof("response") for reply in replies]
        metadata = replies[1].dynamic_metadata["envoy.lb"]
        assert ("10.0.0.1:8000,10.0.0.2:8000", "1") == (
            metadata["x-gateway-destination-endpoint"], metadata["igw-decision"],
        )  # fmt: skip
    assert 1 == harness.ledger.statistics().open
    assert "default/llama" == harness.requests[0].head.pool


async def test_a_full_exchange_settles_with_usage_at_the_end_of_the_answer() -> None:
    """Status, times and tokens are read in passing; every piece is sent on."""
    answer = (
        b'{"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":8}}}'
    )
    async with Harness().serving() as harness:
        replies = await harness.exchange(
            [request_headers(), request_body(CHAT), response_headers(), response_body(answer[:40], False),
             response_body(answer[40:], True)]
        )  # fmt: skip
    pieces = [reply.response_body.response.body_mutation.streamed_response.body for reply in replies[3:]]
    assert answer == b"".join(pieces)
    ((number, outcome),) = harness.outcomes
    assert harness.started == [number]
    assert (End.COMPLETE, 200, Usage(10, 2, 8)) == (outcome.end, outcome.status, outcome.usage)
    assert outcome.ttft_seconds is not None
    assert 0 == harness.ledger.statistics().open


class LeavesAtTheEnd:
    """A proxy that resets the exchange as soon as it has the reply to the answer's last piece, before our sending of it returns."""

    def __init__(self, messages: Iterable[pb.ProcessingRequest]) -> None:
        self._messages = list(messages)

    async def read(self) -> Any:
        return self._messages.pop(0)

    async def write(self, reply: pb.ProcessingResponse) -> None:
        if (
            reply.WhichOneof("response") in ("response_headers", "response_body", "response_trailers")
            and self.ended()
        ):
            raise asyncio.CancelledError

    def ended(self) -> bool:
        return not self._messages


@pytest.mark.parametrize(
    "end",
    [
        (response_headers("204", end=True),),
        (response_headers(), response_body(b"{}", True)),
        (
            response_headers(),
            response_body(b"{}", False),
            pb.ProcessingRequest(response_trailers=pb.HttpTrailers()),
        ),
    ],
    ids=["headers", "body", "trailers"],
)
async def test_an_answer_that_ended_stays_complete_if_the_proxy_is_gone_at_once(
    end: tuple[pb.ProcessingRequest, ...],
) -> None:
    """Nobody waits for us to have finished sending; what was learnt from the answer is kept."""
    harness = Harness()
    async with harness.serving() as _:
        stream = LeavesAtTheEnd([request_headers(), request_body(CHAT), *end])
        with pytest.raises(asyncio.CancelledError):
            await Exchange(harness.service, "default/llama", lean=False).run(stream)
    assert [End.COMPLETE] == [outcome.end for _, outcome in harness.outcomes]


async def test_a_full_exchange_that_breaks_off_releases_its_reservation() -> None:
    """The end of the stream is the end of the request when the answer passes through the picker."""
    async with Harness().serving() as harness:
        await harness.exchange([request_headers(), request_body(CHAT), response_headers()])
    assert [End.ABORTED] == [outcome.end for _, outcome in harness.outcomes]


async def test_an_error_is_an_openai_error_object_with_a_reason() -> None:
    """Clients read `error.message`; operators read the header (upstream's W8-W11)."""
    harness = Harness()
    harness.fault = NoEndpoints("pool default/llama is empty")
    async with harness.serving():
        (reply,) = await harness.exchange([request_headers(), request_body(CHAT)])
    answer = reply.immediate_response
    assert 503 == answer.status.code
    assert {"message": "pool default/llama is empty", "type": "server_error", "param": None,
            "code": "ServiceUnavailable"} == json.loads(answer.body)["error"]  # fmt: skip
    found = {option.header.key: option.header.raw_value for option in answer.headers.set_headers}
    assert {"content-type": b"application/json", "x-llm-d-request-dropped-reason": b"rejected-no-endpoints",
            "retry-after": b"1"} == found  # fmt: skip


@pytest.mark.parametrize(
    ("path", "fault", "kind"),
    [
        ("/v1/messages", NoEndpoints("nobody"), "overloaded_error"),
        ("/v1/messages/count_tokens?beta=true", BadRequest("no"), "invalid_request_error"),
        ("/x/publishers/anthropic/models/claude:rawPredict", TooLarge("no"), "request_too_large"),
    ],
)
async def test_anthropics_clients_get_anthropics_errors(path: str, fault: Rejected, kind: str) -> None:
    """By the path."""
    harness = Harness()
    harness.fault = fault
    async with harness.serving():
        (reply,) = await harness.exchange([request_headers(**{":path": path}), request_body(CHAT)])
    assert json.loads(reply.immediate_response.body) == {
        "type": "error", "error": {"type": kind, "message": fault.message}, "request_id": None,
    }  # fmt: skip


async def test_an_image_that_comes_in_pieces_is_the_one_that_comes_whole() -> None:
    """And what goes on is the body, byte for byte."""
    url = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 1000).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = json.dumps({"model": "llama", "messages": [{"role": "user", "content": content}]}).encode()
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    async with Harness().serving() as harness:
        replies = await harness.exchange(
            [request_headers(), *[request_body(piece, piece is pieces[-1]) for piece in pieces]]
        )
        await harness.exchange([request_headers(body_mode=2), request_body(body)])
    streamed, whole = harness.requests
    assert len(streamed.media) == 1
    assert streamed.media == whole.media
    assert b"".join(streamed.prompt) == b"".join(whole.prompt)
    assert body == b"".join(
        reply.request_body.response.body_mutation.streamed_response.body for reply in replies[1:]
    )


async def test_a_body_that_is_no_json_is_a_400() -> None:
    """Whatever the body mode."""
    async with Harness().serving() as harness:
        for mode in (None, 2):
            replies = await harness.exchange(
                [request_headers(body_mode=mode), request_body(b"no healthy upstream")]
            )
            assert 400 == replies[-1].immediate_response.status.code
            assert b"not a valid chat/completions request" in replies[-1].immediate_response.body


async def test_the_subset_hint_is_read_as_list_and_as_string() -> None:
    """Both forms are seen in the field; a form that means nothing allows nobody instead of everybody."""
    async with Harness().serving() as harness:
        for value in (["10.0.0.2:8000", "10.0.0.3"], "10.0.0.2:8000, 10.0.0.3", 5):
            message = request_headers(end=True)
            hint = struct_pb2.Struct()
            hint.update({"x-gateway-destination-endpoint-subset": value})
            message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(hint)
            await harness.exchange([message])
    assert [("10.0.0.2:8000", "10.0.0.3")] * 2 + [()] == [request.head.subset for request in harness.requests]


async def test_a_fault_in_one_request_stays_in_it() -> None:
    """The exchange fails, the proxy's failure mode decides, the next one is served."""
    harness = Harness()
    async with harness.serving():
        harness.fault = ZeroDivisionError()
        try:
            await harness.exchange([request_headers(end=True)])
        except grpc.aio.AioRpcError as error:
            assert grpc.StatusCode.INTERNAL is error.code()
        harness.fault = None
        assert 1 == len(await harness.exchange([request_headers(end=True)]))


async def test_messages_out_of_order_end_the_exchange() -> None:
    """An answer's body before its headers has no meaning."""
    async with Harness().serving() as harness:
        try:
            await harness.exchange([response_body(b"x", True)])
        except grpc.aio.AioRpcError as error:
            assert grpc.StatusCode.FAILED_PRECONDITION is error.code()
        else:
            raise AssertionError("the exchange was accepted")


async def test_a_declared_length_over_the_limit_is_refused_before_the_body() -> None:
    """413 in our words, not a broken stream (upstream's W22)."""
    async with Harness().serving(ServerSettings(max_body_bytes=10)) as harness:
        (reply,) = await harness.exchange([request_headers(content_length="11")])
    assert 413 == reply.immediate_response.status.code


class Renaming(Harness):
    """A picker whose pool has another name for the model."""

    async def route(self, request: Request) -> Decision:
        return await super().route(
            msgspec.structs.replace(request, target_model="the-target", model_value=None)
        )


NEW = CHAT.replace(b'"llama"', b'"the-target"')


@pytest.mark.parametrize("mode", ["duplex", "buffered"])
async def test_a_rewritten_requests_answer_gets_the_clients_name_back(mode: str) -> None:
    """In pieces or in place of the whole; a length that no longer holds is removed."""
    buffered = mode == "buffered"
    headers = response_headers()
    headers.response_headers.headers.headers.add(key="content-length", raw_value=b"45")
    asked = request_headers(body_mode=2 if buffered else 4)
    asked.protocol_config.response_body_mode = asked.protocol_config.request_body_mode
    answer = b'{"model":"the-target","choices":["the-target"]}'
    pieces = [(answer, True)] if buffered else [(answer[:14], False), (answer[14:], True)]
    async with Renaming().serving() as harness:
        replies = await harness.exchange(
            [asked, request_body(CHAT), headers, *(response_body(data, end) for data, end in pieces)]
        )
    set_headers, *changed = replies[2:]
    assert ["content-length"] == list(set_headers.response_headers.response.header_mutation.remove_headers)
    mutations = [reply.response_body.response.body_mutation for reply in changed]
    bodies = [each.body if buffered else each.streamed_response.body for each in mutations]
    assert b'{"model":"llama","choices":["the-target"]}' == b"".join(bodies)


def lengths(part: Any) -> dict[str, bytes]:
    """Return the headers that a reply sets, but for the pick."""
    return {
        option.header.key: option.header.raw_value for option in part.response.header_mutation.set_headers[1:]
    }


async def test_a_streamed_body_goes_on_under_the_targets_name_with_its_length() -> None:
    """However it came in pieces; its trailers stay (upstream's H14)."""
    async with Renaming().serving() as harness:
        headers = request_headers(content_length=str(len(CHAT)))
        first, second = await harness.exchange(
            [headers, request_body(CHAT[:14], False), request_body(CHAT[14:])]
        )
        assert lengths(first.request_headers) == {"content-length": str(len(NEW)).encode()}
        assert (NEW, True) == (
            second.request_body.response.body_mutation.streamed_response.body,
            second.request_body.response.body_mutation.streamed_response.end_of_stream,
        )
        trailers = pb.ProcessingRequest(request_trailers=pb.HttpTrailers())
        first, second, third = await harness.exchange(
            [request_headers(), request_body(CHAT, False), trailers]
        )
        assert lengths(first.request_headers) == {}
        assert NEW == second.request_body.response.body_mutation.streamed_response.body
        assert not second.request_body.response.body_mutation.streamed_response.end_of_stream
        assert "request_trailers" == third.WhichOneof("response")


async def test_a_buffered_body_is_replaced_in_the_reply_that_carries_the_pick() -> None:
    """The proxy kept the old one; only the new one is sent."""
    async with Renaming().serving() as harness:
        headers = request_headers(body_mode=2, content_length=str(len(CHAT)))
        _, second = await harness.exchange([headers, request_body(CHAT)], lean=True)
    assert NEW == second.request_body.response.body_mutation.body
    assert lengths(second.request_body) == {"content-length": str(len(NEW)).encode()}


async def test_a_body_that_stays_with_the_proxy_is_not_replaced_where_the_name_is_the_same() -> None:
    """Nothing is sent back that did not change."""
    async with Harness().serving() as harness:
        _, second = await harness.exchange([request_headers(body_mode=2), request_body(CHAT)], lean=True)
    assert not second.request_body.response.HasField("body_mutation")


async def test_an_answer_that_is_shown_and_reported_is_settled_by_the_report() -> None:
    """Our own proxy knows who served it after how many tries; the picker still writes the client's name back."""
    answer = b'{"model":"the-target"}'
    async with Renaming().serving() as harness:
        said = [
            request_headers(body_mode=2),
            request_body(CHAT),
            response_headers(),
            response_body(answer, True),
        ]
        said[0].protocol_config.response_body_mode = 4
        replies = await harness.exchange(said, lean=True)
        assert 1 == harness.ledger.statistics().open
    pieces = [
        reply.response_body.response.body_mutation.streamed_response.body
        for reply in replies if reply.WhichOneof("response") == "response_body"
    ]  # fmt: skip
    assert b'{"model":"llama"}' == b"".join(pieces)
    assert not harness.outcomes


@pytest.mark.parametrize(("end", "open_after"), [(True, 1), (False, 0)])
async def test_a_proxy_that_resets_a_shown_answer_reports_it_only_if_it_was_through(
    end: bool, open_after: int
) -> None:
    """In the middle of an answer it is the client that left: that is the end."""
    harness = Renaming()
    async with harness.serving() as _:
        stream = LeavesAtTheEnd(
            [request_headers(body_mode=2), request_body(CHAT), response_headers(), response_body(b"{}", end)]
        )
        with pytest.raises(asyncio.CancelledError):
            await Exchange(harness.service, "default/llama", lean=True).run(stream)
        assert open_after == harness.ledger.statistics().open


@pytest.mark.parametrize("reported", [True, False])
async def test_a_proxy_that_is_gone_right_after_its_pick_is_given_time_to_report(reported: bool) -> None:
    """A fast answer was there before our end of the exchange; or the client left and nobody will tell."""

    class Gone(LeavesAtTheEnd):
        async def read(self) -> Any:
            if self.ended():
                raise asyncio.CancelledError
            return await super().read()

    async with Harness().serving(ServerSettings(report_seconds=0.0)) as harness:
        exchange = Exchange(harness.service, "default/llama", lean=True)
        with pytest.raises(asyncio.CancelledError):
            await exchange.run(Gone([request_headers(body_mode=2), request_body(CHAT)]))
        assert not harness.outcomes
        if reported:
            harness.ledger.close(1, Outcome(End.COMPLETE, 200))
        await asyncio.sleep(0.01)
    assert [End.COMPLETE if reported else End.ABORTED] == [outcome.end for _, outcome in harness.outcomes]


@pytest.mark.parametrize(("at", "open_after"), [(-1, 1), (-2, 0)])
async def test_a_proxy_that_has_all_of_a_streamed_body_may_be_gone_at_once(at: int, open_after: int) -> None:
    """The access log will tell: it had the pick before the body. One that is gone before that had its client leave."""

    class Leaves(LeavesAtTheEnd):
        async def write(self, reply: pb.ProcessingResponse) -> None:
            replies.append(reply)
            if len(replies) == count + at + 1:
                raise asyncio.CancelledError

    body = CHAT + b" " * 200_000
    replies: list[pb.ProcessingResponse] = []
    count = 1 + -(-len(body) // PIECE_BYTES)
    harness = Harness()
    async with harness.serving() as _:
        with pytest.raises(asyncio.CancelledError):
            await Exchange(harness.service, "default/llama", lean=True).run(
                Leaves([request_headers(), request_body(body)])
            )
        assert open_after == harness.ledger.statistics().open


async def test_a_proxy_that_has_gone_is_no_fault_of_what_is_told_beside() -> None:
    """One of the errors that gRPC has for it is exported by no name of its own."""
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    ended = asyncio.Event()

    async def telling() -> None:
        ended.set()
        raise grpc.aio.InternalError("Failed to execute a batch of operations")

    async with Harness().serving() as harness:
        harness.service.keep(telling())
        await ended.wait()
    gc.collect()
    assert not faults
