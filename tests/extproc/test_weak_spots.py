"""What upstream's picker gets wrong on the wire (its weak spots W1 to W24), done right: one test each, named after what is right."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from envoy.config.core.v3 import base_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.decision import Decision
from igw.errors import ConfigError
from igw.extproc.health import HealthSays
from igw.extproc.listening import Limits, Ports, listen
from igw.request import Request
from tests.extproc.wire import (
    LEAST_LOADED,
    OBJECTS,
    SSE,
    Load,
    Wire,
    answer,
    answer_body,
    answer_headers,
    body,
    calling,
    config,
    headers,
    kinds,
    passed,
    prompt,
    refusal,
    refusal_headers,
    routed_to,
    set_headers,
    standard,
    trailers,
    wire,
)

P1, P2 = "192.168.1.1:8000", "192.168.1.2:8000"
NONE, STREAMED, BUFFERED, DUPLEX = 0, 1, 2, 4


async def test_w1_trailers_end_a_body(tmp_path: Path) -> None:
    """A body that they follow has no last piece; the pick, the body and their own reply come then."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(prompt("m"), end=False), trailers())
        assert ["request_headers", "request_body", "request_trailers"] == kinds(replies)
        assert P2 == routed_to(replies)
        assert [(prompt("m"), False)] == passed(replies)


async def test_w2_requests_without_a_body_go_the_same_way(tmp_path: Path) -> None:
    """Subset hint, objective, load, metrics, and the reason where nobody is left."""
    asked = {"end": True, "x_llm_d_inference_objective": "my-model"}
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        assert P2 == routed_to(await picker.exchange(headers("/v1/models", **asked)))
        assert P1 == routed_to(await picker.exchange(headers("/v1/models", subset=[P1], **asked)))
        assert 2 == picker.metric("request_total", priority="2", model_name="")
        replies = await picker.exchange(headers("/v1/models", subset=[], **asked))
        assert 503 == refusal(replies)[0]
        assert "rejected-no-endpoints" == refusal_headers(replies)["x-llm-d-request-dropped-reason"]


async def test_w3_control_headers_do_not_reach_the_model_server(tmp_path: Path) -> None:
    """Those that came are removed, and where a request goes is written over what the client wrote."""
    control = {
        "x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id", "x-llm-d-inference-objective",
        "x-gateway-inference-objective", "x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite",
        "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms", "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms",
        "x-gateway-destination-endpoint-subset", "x-gateway-destination-endpoint-served",
        "x-llm-d-request-dropped-reason",
    }  # fmt: skip
    client = {name.replace("-", "_"): "1" for name in control}
    client["x_gateway_destination_endpoint"] = "10.6.6.6:1"
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(**client), body(prompt("m")))
        mutation = replies[0].request_headers.response.header_mutation
        assert control == set(mutation.remove_headers)
        (destination,) = mutation.set_headers
        assert ("x-gateway-destination-endpoint", P2.encode()) == (
            destination.header.key, destination.header.raw_value,
        )  # fmt: skip
        assert base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD == destination.append_action


async def test_w4_headers_that_do_not_change_are_not_set_again(tmp_path: Path) -> None:
    """However many there are, and whatever stands twice in an answer."""
    many = {f"x_own_{number}": "v" for number in range(150)}
    traced = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": "a=b", "baggage": "c=d"}
    twice = answer_headers(("set-cookie", "a=1"), ("set-cookie", "b=2"), SSE)
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(
            headers(**many, **traced), body(prompt("m")), twice, answer_body(b"", True)
        )
        assert ["x-gateway-destination-endpoint"] == list(set_headers(replies[0].request_headers))
        assert not replies[0].request_headers.response.header_mutation.remove_headers
        assert not replies[2].response_headers.response.HasField("header_mutation")


@pytest.mark.parametrize("name", [":status", "status"])
async def test_w5_a_model_servers_error_is_counted(tmp_path: Path, name: str) -> None:
    """By the status that Envoy sends, and by the name that others use."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        failed = answer(b"{}")
        failed[0].response_headers.headers.headers[0].CopyFrom(
            base_pb2.HeaderValue(key=name, raw_value=b"503")
        )
        await picker.exchange(*standard("my-model"), *failed)
        assert 1 == picker.metric("request_error_total", error_code="ModelServerError", model_name="my-model")


async def test_w6_an_answer_without_a_body_is_over_with_its_headers(tmp_path: Path) -> None:
    """It is complete and has a duration, though the exchange goes on for now."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        call = picker.call()
        for message in (*standard("my-model"), answer_headers(end=True, status="204")):
            await call.write(message)
        for _ in range(3):
            await call.read()
        assert 0 == picker.open()
        assert 1 == picker.metric("request_duration_seconds_count")
        await call.done_writing()
        assert grpc.StatusCode.OK is await call.code()


async def test_w7_a_request_whose_answer_is_not_shown_still_counts_as_load(tmp_path: Path) -> None:
    """For a while if nobody will tell of its end; until the access log tells it in lean mode. It is nobody's error."""
    over = asyncio.Event()
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        picker.picker._ledger.listen(lambda _decision, _outcome: over.set())
        service = picker.picker.extproc
        await picker.exchange(headers(modes=(DUPLEX, NONE)), body(prompt("m")), lean=True)
        assert 1 == picker.open()
        service.settings = msgspec.structs.replace(service.settings, hidden_answer_seconds=0.05)
        shown = [headers(modes=(DUPLEX, NONE)), body(prompt("m")), answer_headers()]
        await picker.exchange(*shown)
        assert 2 == picker.open()
        async with asyncio.timeout(10):
            await over.wait()
        assert 1 == picker.open()
        assert picker.metric("request_error_total") is None


async def test_w8_a_plugins_denial_keeps_its_status(tmp_path: Path) -> None:
    """429 where upstream says 500."""
    full = [Load(100, 0.99)] * 3
    extra = config("probabilistic-admitter")
    async with wire(tmp_path, *full, extra=extra) as picker:
        replies = await picker.exchange(*standard("batch"))
        assert (429, "ResourceExhausted") == refusal(replies)[:2]
        assert P1 == routed_to(await picker.exchange(*standard("my-model", subset=[P1])))


async def test_w9_a_429_says_why_and_when_to_come_back(tmp_path: Path) -> None:
    """In headers, for clients and for operators."""
    extra = config("probabilistic-admitter")
    async with wire(tmp_path, Load(100, 0.99), extra=extra) as picker:
        said = refusal_headers(await picker.exchange(*standard("batch")))
        assert ("rejected-saturated", "1") == (said["x-llm-d-request-dropped-reason"], said["retry-after"])


async def _fails(_request: Request) -> Decision:
    raise ZeroDivisionError("with a prompt in it")


async def test_w10_a_fault_is_a_500_unless_one_asked_for_open_doors(tmp_path: Path) -> None:
    """A pool that fails open must not be a way around policy; who wants it says so. No detail of the fault reaches the client."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        service = picker.picker.extproc
        service.route = _fails
        replies = await picker.exchange(*standard("my-model"))
        status, code, message = refusal(replies)
        assert (500, "Internal") == (status, code)
        assert "prompt" not in message
        assert "rejected-internal-error" == refusal_headers(replies)["x-llm-d-request-dropped-reason"]
        service.settings = msgspec.structs.replace(service.settings, fail_open_on_faults=True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await picker.exchange(*standard("my-model"))
        assert grpc.StatusCode.INTERNAL is caught.value.code()


async def test_w11_errors_have_the_shape_that_clients_read(tmp_path: Path) -> None:
    """OpenAI's or Anthropic's, by path; upstream's line of text for who asks for it."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(), body(b"{"))
        assert "application/json" == refusal_headers(replies)["content-type"]
        error = json.loads(replies[0].immediate_response.body)["error"]
        assert ("invalid_request_error", "BadRequest", None) == (error["type"], error["code"], error["param"])
        replies = await picker.exchange(headers("/v1/messages"), body(b"{}"))
        error = json.loads(replies[0].immediate_response.body)
        assert ("error", "invalid_request_error") == (error["type"], error["error"]["type"])
    plain = PickerSettings(paths=(), plain_text_errors=True)
    async with wire(tmp_path, *LEAST_LOADED, settings=plain) as picker:
        (reply,) = await picker.exchange(headers(), body(b'{"prompt":"p"}'))
        assert b"inference error: BadRequest - model not found in request body" == (
            reply.immediate_response.body
        )
        assert "text/plain" == refusal_headers([reply])["content-type"]


RANKS = (
    Load(3, 0.5),
    Load(0, 0.1, port=8001, address="192.168.1.1"),
    Load(5, 0.5, address="fd00::1"),
    Load(9, 0.9, address="fd00::2"),
)


@pytest.mark.parametrize(
    ("subset", "picked"),
    [
        ([P1], P1),
        (P1, P1),
        ([" 192.168.1.1:8001 "], "192.168.1.1:8001"),
        ("192.168.1.1", "192.168.1.1:8001"),
        (["192.168.1.1"], "192.168.1.1:8001"),
        (["[fd00::1]:8000"], "[fd00::1]:8000"),
        (["fd00::1", "fd00::2"], "[fd00::1]:8000"),
        ("[fd00::2]", "[fd00::2]:8000"),
        (["[FD00:0:0::2]:8000"], "[fd00::2]:8000"),
        (["192.168.1.9:8000", 5, "[fd00::2]:8000"], "[fd00::2]:8000"),
        (["192.168.1.1:9000"], None),
        (["[fd00::1]:9000", "[fd00::1", "192.168.1.1:", "fd00::1:8000", "pod-1"], None),
        ([], None),
        ("", None),
        ([5], None),
        (5, None),
        ({"a": P1}, None),
    ],
    ids=str,
)
async def test_w12_a_subset_is_compared_with_its_ports(
    tmp_path: Path, subset: Any, picked: str | None
) -> None:
    """A list or a string; an address alone stands for all its ports; what cannot be read allows nobody, not everybody."""
    async with wire(tmp_path, *RANKS) as picker:
        replies = await picker.exchange(headers("/v1/models", end=True, subset=subset))
        if picked is not None:
            assert picked == routed_to(replies)
        else:
            assert (503, "ServiceUnavailable") == refusal(replies)[:2]
            assert "the gateway's subset hint names no endpoint" in refusal(replies)[2]


async def test_w13_an_ipv6_destination_is_in_brackets(tmp_path: Path) -> None:
    """With a body and without one."""
    async with wire(tmp_path, Load(address="fd00::1")) as picker:
        for messages in ([headers("/v1/models", end=True)], standard("m")):
            assert "[fd00::1]:8000" == routed_to(await picker.exchange(*messages))


async def test_w14_metadata_of_plugins_stands_beside_the_pick(tmp_path: Path) -> None:
    """In the same namespace too, where what the picker says itself stays."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        route = picker.picker.extproc.route

        async def with_metadata(request: Request) -> Decision:
            decision = await route(request)
            said = {
                "envoy.lb": {"cost": 10, "x-gateway-destination-endpoint": "10.6.6.6:1"},
                "own": {"a": {"b": "c"}},
            }
            delivery = msgspec.structs.replace(decision.delivery, metadata=said)
            return msgspec.structs.replace(decision, delivery=delivery)

        picker.picker.extproc.route = with_metadata
        replies = await picker.exchange(*standard("m"))
        assert P2 == routed_to(replies)
        assert 10 == replies[0].dynamic_metadata["envoy.lb"]["cost"]
        assert "c" == replies[0].dynamic_metadata["own"]["a"]["b"]


async def test_w15_two_requests_of_one_id_do_not_meet(tmp_path: Path) -> None:
    """Each ends by itself, and once."""

    async def begin(picker: Wire) -> Any:
        call = picker.call()
        for message in standard("my-model", x_request_id="the-same"):
            await call.write(message)
        await call.read()
        await call.read()
        return call

    async def end(call: Any) -> None:
        for message in answer(b"{}"):
            await call.write(message)
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass

    async with wire(tmp_path, Load()) as picker:
        first, second = await begin(picker), await begin(picker)
        assert 2 == picker.open()
        await end(first)
        assert (1, 1) == (picker.open(), picker.metric("request_duration_seconds_count"))
        await end(second)
        assert (0, 2) == (picker.open(), picker.metric("request_duration_seconds_count"))


@pytest.mark.parametrize(
    ("path", "extra", "read"),
    [
        ("/v1/completions", {}, True),
        ("/tenant/v1/completions/?a=b", {}, True),
        ("/x/mycompletions", {}, False),
        ("/v1/completions/more", {}, False),
        ("", {"x_original_path": "/v1/completions"}, True),
        ("", {"x_forwarded_path": "/v1/completions"}, True),
        ("", {}, False),
    ],
)
async def test_w16_paths_are_compared_by_whole_segments(
    tmp_path: Path, path: str, extra: dict[str, str], read: bool
) -> None:
    """What is no known API is placed unread, and a missing path is not taken for one."""
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(headers(path, **extra), body(b"no JSON"))
        assert (["immediate_response"] if read else ["request_headers", "request_body"]) == kinds(replies)


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
async def test_w17_only_the_answers_own_model_gets_its_name_back(tmp_path: Path, size: int) -> None:
    """Streamed or whole, cut anywhere, spaced in any way; never what the model says."""
    told = '"model":"rewritten-model"'
    event = {"model": "rewritten-model", "choices": [{"delta": {"content": told}}]}
    whole = b"data: " + json.dumps(event, indent=None, separators=(", ", " : ")).encode() + b"\n\n"
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        replies = await picker.exchange(*standard("model-to-be-rewritten"), *answer(*pieces, sse=True))
        back = b"".join(piece for piece, _ in passed(replies, "response_body"))
    expected = whole.replace(b'"model" : "rewritten-model"', b'"model" : "model-to-be-rewritten"', 1)
    assert expected == back


@pytest.mark.parametrize("size", [1, 5, 100, 4096])
async def test_w18_usage_is_found_wherever_a_stream_is_cut_and_counted_once(
    tmp_path: Path, size: int
) -> None:
    """The last one is the total; running ones before it are not counted, and a space after `data:` is not needed."""
    running = [
        f'data:{{"usage":{{"prompt_tokens":7,"completion_tokens":{done}}}}}\n\n' for done in (1, 2, 10)
    ]
    whole = "".join(running).encode() + b"data: [DONE]\n\n"
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        await picker.exchange(*standard("my-model"), *answer(*pieces, sse=True))
        for family, tokens in (("request_input_tokens", 7), ("request_output_tokens", 10)):
            assert (tokens, 1) == (picker.metric(f"{family}_sum"), picker.metric(f"{family}_count"))


async def test_w19_a_rewritten_body_keeps_every_other_byte(tmp_path: Path) -> None:
    """Order, spaces, large numbers, escapes, duplicates."""
    data = (
        b'{ "z" : 9007199254740993, "seed":1e400,\t"prompt":"<a>&\\u00e9 \\/ \xc3\xa9", "model" : "model-to-be-rewritten" ,'
        b'"a":[1.0,1.00], "a":0.1000000000000000055 }\n'
    )
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        ((new, _),) = passed(await picker.exchange(headers(), body(data)))
        assert data.replace(b"model-to-be-rewritten", b"rewritten-model") == new


async def test_w20_a_large_answer_is_not_kept_and_one_without_headers_passes(tmp_path: Path) -> None:
    """Each piece goes on before the next one comes. A gateway may keep an answer's headers to itself."""
    piece = b"x" * 60_000
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        call = picker.call()
        for message in (*standard("my-model"), answer_headers(("content-type", "application/json"))):
            await call.write(message)
        for _ in range(3):
            await call.read()
        for _ in range(100):
            await call.write(answer_body(piece))
            reply = await call.read()
            assert piece == reply.response_body.response.body_mutation.streamed_response.body
        await call.write(answer_body(b"", end=True))
        await call.read()
        await call.done_writing()
        assert 0 == picker.open()
        counted = b'{"usage":{"prompt_tokens":7,"completion_tokens":10}}'
        replies = await picker.exchange(*standard("my-model"), answer_body(counted, end=True))
        assert [(counted, True)] == passed(replies, "response_body")
        replies = await picker.exchange(*standard("my-model"), trailers("response_trailers"))
        assert "response_trailers" == kinds(replies)[-1]
        assert (0, 7) == (picker.open(), picker.metric("request_input_tokens_sum"))


async def test_w21_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """Neither a reservation nor a task, also where the request had no body."""
    ended = asyncio.Event()
    async with wire(tmp_path, *LEAST_LOADED) as picker:
        picker.picker._ledger.listen(lambda _decision, _outcome: ended.set())
        await picker.exchange(headers("/v1/models", end=True), *answer(b"{}"))
        before = len(asyncio.all_tasks())
        ended.clear()
        call = picker.call()
        begun = [headers("/v1/events", end=True), answer_headers(SSE), answer_body(b"data: {}\n\n")]
        for message in begun:
            await call.write(message)
            await call.read()
        assert 1 == picker.open()
        call.cancel()
        async with asyncio.timeout(10):
            await ended.wait()
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0)
        assert 0 == picker.open()


async def test_w22_a_body_over_the_limit_is_a_413(tmp_path: Path) -> None:
    """Also one that did not say how long it is, in pieces or in one; what is still on its way then disturbs nobody."""
    (tmp_path / "pool.yaml").write_text(OBJECTS)
    settings = PickerSettings(
        paths=(tmp_path,), grpc_port=0, health_port=0, metrics_port=0, max_body_bytes=1 << 20, drain_seconds=0
    )
    piece = b"x" * (600 << 10)
    async with (
        Picker(settings).running() as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        for messages in (
            [headers(content_length=str(2 << 20)), body(piece, end=False), body(piece)],
            [headers(), *[body(piece, end=False)] * 3, body(piece)],
            [headers(modes=(BUFFERED, NONE)), body(piece * 2)],
        ):
            replies = [reply async for reply in calling(channel)(iter(messages))]
            assert (413, "PayloadTooLarge") == refusal(replies)[:2]
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # a message that no gateway should send
            async for _ in calling(channel)(iter([headers(), body(piece * 4)])):
                pass
        assert grpc.StatusCode.RESOURCE_EXHAUSTED is caught.value.code()


async def test_w23_a_failure_mode_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    """`FailClosed` stands in upstream's chart; it is `FailClose`."""
    path = tmp_path / "pool.yaml"
    path.write_text(OBJECTS.replace("endpointPickerRef: {", "endpointPickerRef: {failureMode: FailClosed, "))
    with pytest.raises(ConfigError, match="FailClosed") as caught:
        load([path])
    assert "failureMode" in str(caught.value)


async def test_w24_a_picker_that_goes_says_so_before_it_goes() -> None:
    """A gateway that asks for its health fails fast; the process itself is alive until it has drained."""
    says = HealthSays()
    async with contextlib.AsyncExitStack() as stack:
        _, where = await listen(stack, Ports("127.0.0.1", 0, 0, 0), (), says, Limits(1 << 20, 0))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(where))
        stub = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        says.serving()
        seen = [await watched.read()]
        if seen[-1].status != health_pb2.HealthCheckResponse.SERVING:
            seen.append(await watched.read())
        assert health_pb2.HealthCheckResponse.SERVING == seen[-1].status
        await says.leaving(0)
        gone = await watched.read()
        assert health_pb2.HealthCheckResponse.NOT_SERVING == gone.status
        alive = await stub.Check(health_pb2.HealthCheckRequest(service="liveness"))
        assert health_pb2.HealthCheckResponse.SERVING == alive.status
        watched.cancel()
