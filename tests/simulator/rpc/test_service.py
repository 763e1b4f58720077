"""`VllmEngine` over loopback with a real client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from smg_grpc_proto.generated import common_pb2
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from igw.simulator.text import answer, natural_length, tokenize
from tests.simulator.rpc.client import Client, connected

PROMPT = "Tell me what a gateway does. " * 8
TOKENS = tokenize(PROMPT)
LONG = pb.SamplingParams(max_tokens=20_000)


def expected(count: int) -> list[int]:
    """Return the ids of the answer's first tokens."""
    return [tokenize(piece)[0] for piece in answer(TOKENS, count)]


def limited(tokens: int, **more: Any) -> pb.SamplingParams:
    """Return parameters that end an answer after so many tokens."""
    return pb.SamplingParams(max_tokens=tokens, **more)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server a hundred times as fast as a real one."""
    async with connected(speed=100) as each:
        yield each


def test_every_method_is_documented() -> None:
    """Also those that are refused."""
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    table = re.findall(r"^\|([^|]+)\|", text.split("## gRPC")[1].split("## ")[0], re.MULTILINE)
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["VllmEngine"].methods}
    assert methods == set(re.findall(r"`(\w+)`", "".join(table)))


async def test_an_answer_that_is_not_streamed_is_one_message(client: Client) -> None:
    """The same for a text and for its tokens, which are cached the second time."""
    first = await client.complete(text=PROMPT, sampling_params=limited(5))
    assert list(first.output_ids) == expected(5)
    assert (first.finish_reason, first.prompt_tokens, first.completion_tokens) == ("length", 58, 5)
    tokenized = pb.TokenizedInput(input_ids=TOKENS)
    second = await client.complete(tokenized=tokenized, sampling_params=limited(5))
    assert second.output_ids == first.output_ids
    assert (first.cached_tokens, second.cached_tokens) == (0, 48)


async def test_a_stream_has_a_chunk_per_token_and_the_whole_at_the_end(client: Client) -> None:
    """Counts rise with every chunk."""
    *chunks, last = await client.generate(text=PROMPT, stream=True, sampling_params=limited(4))
    assert [list(each.chunk.token_ids) for each in chunks] == [[token] for token in expected(4)]
    assert [each.chunk.completion_tokens for each in chunks] == [1, 2, 3, 4]
    assert list(last.complete.output_ids) == expected(4)


async def test_choices_are_told_apart_by_index(client: Client) -> None:
    """Each has an end of its own."""
    messages = await client.generate(text=PROMPT, sampling_params=limited(3, n=3))
    assert sorted(each.complete.index for each in messages) == [0, 1, 2]
    assert len({tuple(each.complete.output_ids) for each in messages}) == 3


async def test_the_model_ends_its_answer_unless_told_to_ignore_that(client: Client) -> None:
    """Then it goes on to its limit."""
    natural = await client.complete(text=PROMPT)
    assert (natural.finish_reason, natural.completion_tokens) == ("stop", natural_length(TOKENS))
    params = limited(300, ignore_eos=True)
    assert (await client.complete(text=PROMPT, sampling_params=params)).completion_tokens == 300


async def test_what_ended_an_answer_is_told(client: Client) -> None:
    """A stop string, or a token."""
    word = "".join(answer(TOKENS, 6))[9:12]
    by_text = await client.complete(text=PROMPT, sampling_params=limited(6, stop=[word]))
    assert (by_text.finish_reason, by_text.matched_stop_str) == ("stop", word)
    token = expected(6)[4]
    by_token = await client.complete(text=PROMPT, sampling_params=limited(6, stop_token_ids=[token]))
    assert (by_token.matched_token_id, by_token.completion_tokens) == (token, 5)


async def test_a_client_that_goes_away_frees_its_slot(client: Client) -> None:
    """Amid a stream, and before there is anything to stream."""
    for stream in (True, False):
        call = client.stub.Generate(pb.GenerateRequest(text=PROMPT, stream=stream, sampling_params=LONG))
        if stream:
            await call.read()
        else:
            waiting = asyncio.create_task(call.read())
            await _running(client, 1)
        call.cancel()
        await client.idle()
        assert client.server.engine.statistics().running == 0
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert client.server.engine.statistics().aborted == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_abort_frees_the_slot_and_ends_the_answer(client: Client, stream: bool) -> None:
    """When it has returned nothing is held any more; other requests go on."""
    request = pb.GenerateRequest(request_id="x", text=PROMPT, stream=stream, sampling_params=LONG)
    answers = asyncio.create_task(_all(client.stub.Generate(request)))
    await _running(client, 1)
    other = asyncio.create_task(_all(client.stub.Generate(pb.GenerateRequest(text=PROMPT, stream=True))))
    await _running(client, 2)
    await client.stub.Abort(pb.AbortRequest(request_ids=["x", "unknown"]))
    assert client.server.engine.statistics().aborted == 1
    *chunks, last = await answers
    assert last.complete.finish_reason == "abort"
    assert last.complete.completion_tokens == len(last.complete.output_ids) == len(chunks)
    assert (await other)[-1].complete.finish_reason == "stop"


async def test_an_embedding_costs_a_prefill(client: Client) -> None:
    """And depends on the tokens alone; the HTTP API has the same."""
    request = pb.EmbedRequest(tokenized=pb.TokenizedInput(input_ids=TOKENS))
    first, second = await client.stub.Embed(request), await client.stub.Embed(request)
    assert first.embedding == second.embedding
    assert (first.prompt_tokens, first.embedding_dim, len(first.embedding)) == (58, 1024, 1024)
    assert client.server.engine.statistics().prompt_tokens == 116
    async with aiohttp.ClientSession(f"http://127.0.0.1:{client.http_port}") as http:
        async with http.post("/v1/embeddings", json={"input": PROMPT}) as response:
            [shown] = (await response.json())["data"]
    assert shown["embedding"] == pytest.approx(list(first.embedding))


async def test_health_is_that_of_the_server(client: Client) -> None:
    """Not a constant."""
    assert (await client.stub.HealthCheck(pb.HealthCheckRequest())).healthy
    async with aiohttp.ClientSession(f"http://127.0.0.1:{client.http_port}") as http:
        async with http.post("/igw/faults", json={"unready": True}):
            pass
    assert not (await client.stub.HealthCheck(pb.HealthCheckRequest())).healthy
    code, _ = await client.refusal(client.stub.Generate(pb.GenerateRequest(text="a")))
    assert code == grpc.StatusCode.UNAVAILABLE


async def test_model_and_server_tell_of_themselves(client: Client) -> None:
    """Sizes, and what is going on."""
    model = await client.stub.GetModelInfo(pb.GetModelInfoRequest())
    assert (model.served_model_name, model.is_generation) == ("demo", True)
    before = await client.stub.GetServerInfo(pb.GetServerInfoRequest())
    call = client.stub.Generate(pb.GenerateRequest(text=PROMPT, stream=True, sampling_params=LONG))
    await call.read()
    now = await client.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert (before.active_requests, now.active_requests) == (0, 1)
    assert before.last_receive_timestamp == 0.0 < now.last_receive_timestamp
    assert (now.server_type, now.block_size, now.max_num_seqs) == ("vllm-grpc", 16, 256)
    [load] = (await client.stub.GetLoads(pb.GetLoadsRequest())).loads
    assert (load.num_running_reqs, load.num_waiting_reqs, load.max_running_requests) == (1, 0, 256)
    assert 0 < load.token_usage < 1
    call.cancel()


async def test_a_request_can_name_its_rank() -> None:
    """Of several behind one port; loads are told by rank."""
    async with connected(speed=100, data_parallel_size=2) as client:
        await client.complete(text=PROMPT, sampling_params=limited(2), data_parallel_rank=1)
        counted = [rank.engine.statistics().generation_tokens for rank in client.server.state.ranks]
        assert counted == [0, 2]
        loads = (await client.stub.GetLoads(pb.GetLoadsRequest(dp_rank=1))).loads
        assert [load.dp_rank for load in loads] == [1]
        call = client.stub.Generate(pb.GenerateRequest(text="a", data_parallel_rank=7))
        code, message = await client.refusal(call)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "out of range" in message


async def test_the_cache_can_be_flushed_when_nothing_runs(client: Client) -> None:
    """Not while blocks are in use; `timeout_s` waits for that."""
    call = client.stub.Generate(pb.GenerateRequest(text=PROMPT, stream=True, sampling_params=LONG))
    await call.read()
    assert not (await client.stub.FlushCache(common_pb2.FlushCacheRequest())).success
    call.cancel()
    await client.idle()
    assert (await client.stub.FlushCache(common_pb2.FlushCacheRequest(timeout_s=5))).success
    assert (await client.complete(text=PROMPT, sampling_params=limited(1))).cached_tokens == 0


async def test_what_is_refused_has_a_status_and_a_reason(client: Client) -> None:
    """Too long, badly formed, not simulated."""
    request = pb.GenerateRequest(text=PROMPT, sampling_params=limited(10**9))
    code, message = await client.refusal(client.stub.Generate(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "max_tokens=1000000000" in message
    for call, word in (
        (
            client.stub.Generate(pb.GenerateRequest(text="a", sampling_params=limited(1, logprobs=1))),
            "logprobs",
        ),
        (client.stub.StartProfile(common_pb2.StartProfileRequest()), "Profiling"),
        (client.stub.StopProfile(common_pb2.StopProfileRequest()), "Profiling"),
        (client.stub.GetTokenizer(common_pb2.GetTokenizerRequest()), "four bytes"),
        (client.stub.SubscribeKvEvents(common_pb2.SubscribeKvEventsRequest()), "ZMQ"),
    ):
        code, message = await client.refusal(call)
        assert code == grpc.StatusCode.UNIMPLEMENTED
        assert word in message


async def test_requests_over_grpc_are_on_the_metrics_page(client: Client) -> None:
    """With those over HTTP; they use the same engine."""
    await client.complete(text=PROMPT, sampling_params=limited(5))
    histograms = client.server.state.ranks[0].histograms
    assert (histograms.max_tokens.sum, histograms.parallel.count, histograms.latency.count) == (5, 1, 1)


async def _all(call: Any) -> list[pb.GenerateResponse]:
    return [message async for message in call]


async def _running(client: Client, wanted: int) -> None:
    """Wait until so many requests run."""
    async with asyncio.timeout(30):
        while client.server.engine.statistics().running != wanted:
            await asyncio.sleep(0.001)
