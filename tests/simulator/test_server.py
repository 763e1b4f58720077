"""A server over HTTP on loopback, driven by the OpenAI SDK and by bare requests."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.server import ModelServer
from igw.simulator.text import answer, natural_length, tokenize
from tests.simulator.site import HELLO, HELLO_TOKENS, Site, start


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A server fifty times as fast as a real one."""
    async with start(SimulatorSpec(model="demo", speed=50)) as each:
        yield each


@pytest.fixture
async def slow() -> AsyncIterator[Site]:
    """A server at the pace of a real one, with one slot."""
    async with start(SimulatorSpec(model="demo", max_num_seqs=1)) as each:
        yield each


async def test_the_sdk_gets_the_answer_that_can_be_computed_from_the_prompt(site: Site) -> None:
    """Not streamed."""
    reply = await site.openai.chat.completions.create(model="demo", messages=HELLO, max_tokens=20)
    assert reply.choices[0].message.content == "".join(answer(HELLO_TOKENS, 20))
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (len(HELLO_TOKENS), 20)


async def test_the_sdk_streams_the_same_answer_a_token_a_chunk(site: Site) -> None:
    """With the usage at the end."""
    stream = await site.openai.chat.completions.create(
        model="demo",
        messages=HELLO,
        max_completion_tokens=20,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    words = [chunk.choices[0].delta.content for chunk in chunks[:-1]]
    assert words == ["", *answer(HELLO_TOKENS, 20)]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


async def test_the_second_turn_finds_the_first_in_the_cache(site: Site) -> None:
    """Whole blocks of prompt and answer but for the token generated last, whose keys nobody computed."""
    reply = await site.openai.chat.completions.create(model="demo", messages=HELLO, max_tokens=30)
    turn = [
        {"role": "assistant", "content": reply.choices[0].message.content},
        {"role": "user", "content": "And?"},
    ]
    _, body = await site.post("/v1/chat/completions", {"messages": HELLO + turn, "max_tokens": 1})
    known = len(HELLO_TOKENS) + 30 - 1
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == known // 16 * 16


async def test_without_max_tokens_the_model_ends_its_answer_itself(site: Site) -> None:
    """Between 16 and 256 tokens, decided by the prompt."""
    _, body = await site.post("/v1/chat/completions", {"messages": HELLO})
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == natural_length(HELLO_TOKENS)


async def test_a_stop_string_ends_the_answer(site: Site) -> None:
    """Streamed and not, the same text and reason."""
    whole = "".join(answer(HELLO_TOKENS, 12))
    stop = whole[17:20]
    expected = whole[: whole.index(stop)]
    ask = {"messages": HELLO, "max_tokens": 12, "stop": [stop]}
    _, body = await site.post("/v1/chat/completions", ask)
    choice = body["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"], choice["stop_reason"]) == (
        expected,
        "stop",
        stop,
    )
    events = await site.events("/v1/chat/completions", ask)
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == expected
    assert events[-1]["choices"][0]["stop_reason"] == stop


async def test_a_completion_answers_each_prompt(site: Site) -> None:
    """Text and token ids, in the order asked; streamed chunks carry the index."""
    prompts = ["Once upon a time", [1, 2, 3]]
    ask = {"prompt": prompts, "max_tokens": 5}
    expected = ["".join(answer(tokenize("Once upon a time"), 5)), "".join(answer([1, 2, 3], 5))]
    _, body = await site.post("/v1/completions", ask)
    assert [choice["text"] for choice in body["choices"]] == expected
    texts = ["", ""]
    for event in await site.events("/v1/completions", ask):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == expected


async def test_usage_counts_along_a_stream_when_asked(site: Site) -> None:
    """`continuous_usage_stats` of vLLM."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = await site.events(
        "/v1/chat/completions", {"messages": HELLO, "max_tokens": 3, "stream_options": options}
    )
    assert [event["usage"]["completion_tokens"] for event in events] == [0, 1, 2, 3, 3]


async def test_the_request_id_of_the_client_is_used_even_twice_at_once(site: Site) -> None:
    """Gateways retry with the same id."""
    ask = {"messages": HELLO, "max_tokens": 5}
    headers = {"X-Request-Id": "mine"}
    answers = await asyncio.gather(
        *(site.post("/v1/chat/completions", ask, headers=headers) for _ in range(3))
    )
    assert {(status, body["id"]) for status, body in answers} == {(200, "chatcmpl-mine")}


async def test_the_sdk_raises_its_own_errors(site: Site) -> None:
    """404 for an unknown model, 400 for what cannot be served."""
    with pytest.raises(NotFoundError, match="The model `nope` does not exist"):
        await site.openai.chat.completions.create(model="nope", messages=HELLO)
    with pytest.raises(BadRequestError, match="n must be at least 1"):
        await site.openai.chat.completions.create(model="demo", messages=HELLO, n=0)


async def test_what_does_not_fit_is_refused_before_it_starts() -> None:
    """By length of the model; the body is vLLM's."""
    async with start(SimulatorSpec(model="demo", max_model_len=100, speed=50)) as site:
        for ask, words in (
            ({"max_tokens": 101}, "max_tokens=101 cannot be greater than max_model_len=100."),
            ({"max_tokens": 60}, "This model's maximum context length is 100 tokens."),
            ({"messages": HELLO * 10}, "Please reduce the length of the input messages."),
        ):
            status, body = await site.post("/v1/chat/completions", {"messages": HELLO, **ask})
            assert status == 400
            assert words in body["error"]["message"]
        # The model ends early when there is no room for more.
        short = [{"role": "user", "content": "x" * 200}]
        _, body = await site.post("/v1/chat/completions", {"messages": short})
        assert body["usage"]["total_tokens"] <= 100


async def test_twenty_megabytes_are_answered_when_they_fit() -> None:
    """Five million tokens; only the speed is unreal."""
    spec = SimulatorSpec(
        model="demo", max_model_len=8_000_000, num_gpu_blocks=8_000, block_size=1000, speed=1e9
    )
    async with start(spec) as site:
        message = {"role": "user", "content": "0123456789abcdef" * 1_250_000}
        ask = io.BytesIO(json.dumps({"messages": [message], "max_tokens": 1}).encode())
        async with site.http.post("/v1/chat/completions", data=ask) as response:
            assert response.status == 200
            assert (await response.json())["usage"]["prompt_tokens"] > 5_000_000


async def test_a_client_that_leaves_a_stream_frees_its_slot(slow: Site) -> None:
    """The next request gets the only slot although the first had minutes to go."""
    ask = {"messages": HELLO, "max_tokens": 50_000, "stream": True}
    response = await slow.http.post("/v1/chat/completions", json=ask)
    await response.content.readline()
    assert slow.server.engine.statistics().running == 1
    response.close()
    await slow.idle()
    now = slow.server.engine.statistics()
    assert (now.aborted, now.running, now.kv_usage) == (1, 0, 0)


async def test_a_client_that_leaves_before_its_answer_frees_its_slot(slow: Site) -> None:
    """Not streamed: nothing was written yet, the lost connection alone tells."""
    submitted = asyncio.Event()
    submit = slow.server.driver.submit

    def watched(*args: Any) -> None:
        submit(*args)
        submitted.set()

    slow.server.driver.submit = watched  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(slow.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 50_000}))
    async with asyncio.timeout(30):
        await submitted.wait()
    task.cancel()
    await slow.idle()
    assert slow.server.engine.statistics().aborted == 1


async def test_a_client_that_leaves_the_queue_is_forgotten(slow: Site) -> None:
    """It never ran; the one that has the slot goes on."""
    ask = {"messages": HELLO, "max_tokens": 50_000, "stream": True}
    async with slow.http.post("/v1/chat/completions", json=ask) as running:
        await running.content.readline()
        waiting = await slow.http.post(
            "/v1/chat/completions", json=ask
        )  # headers come before the first token
        now = slow.server.engine.statistics()
        assert (now.running, now.waiting, now.aborted) == (1, 1, 0)
        aborted = asyncio.Event()
        abort = slow.server.driver.abort

        def watched(sequence_id: str) -> None:
            abort(sequence_id)
            aborted.set()

        slow.server.driver.abort = watched  # type: ignore[method-assign,assignment]
        waiting.close()
        async with asyncio.timeout(30):
            await aborted.wait()
        now = slow.server.engine.statistics()
        assert (now.running, now.waiting, now.aborted) == (1, 0, 1)
        running.close()


async def test_keys_are_asked_for_where_vllm_asks() -> None:
    """Under /v1, as a bearer token; any of the keys will do."""
    async with start(SimulatorSpec(model="demo", api_key=["one", "two"])) as site:

        async def status(path: str, authorization: str | None = None) -> int:
            headers = {} if authorization is None else {"Authorization": authorization}
            async with site.http.get(path, headers=headers) as response:
                return response.status

        assert await site.get("/v1/models") == (401, {"error": "Unauthorized"})
        for wrong in ("Bearer three", "Basic one", "one", "Bearer", "Bearer é"):
            assert await status("/v1/models", wrong) == 401
        for right in ("Bearer one", "bearer two"):
            assert await status("/v1/models", right) == 200
        for open_path in ("/health", "/metrics", "/version"):
            assert await status(open_path) == 200
        with pytest.raises(AuthenticationError):
            await site.openai.models.list()


async def test_the_request_id_is_a_header_of_the_answer_when_asked_for() -> None:
    """Of streams and errors too; a new one when the client has none."""
    async with start(SimulatorSpec(model="demo", speed=50, enable_request_id_headers=True)) as site:
        for path, ask in (
            ("/v1/completions", {"prompt": "x", "max_tokens": 1, "stream": True}),
            ("/v1/nothing", {}),
        ):
            async with site.http.post(path, json=ask, headers={"X-Request-Id": "mine"}) as response:
                assert response.headers["X-Request-Id"] == "mine"
        async with site.http.get("/health") as response:
            assert len(response.headers["X-Request-Id"]) == 16


async def test_the_request_id_is_no_header_otherwise(site: Site) -> None:
    """As in vLLM."""
    async with site.http.get("/health", headers={"X-Request-Id": "mine"}) as response:
        assert "X-Request-Id" not in response.headers


async def test_a_server_that_drains_ends_what_it_began_and_takes_no_more() -> None:
    """Readiness tells at once."""
    async with start(SimulatorSpec(model="demo", speed=5, shutdown_timeout=60)) as site:
        ask = {"messages": HELLO, "max_tokens": 100, "stream": True}
        async with site.http.post("/v1/chat/completions", json=ask) as response:
            await response.content.readline()
            draining = asyncio.create_task(site.server.drain())
            await asyncio.sleep(0)
            async with site.http.get("/health") as health:
                assert health.status == 503
            assert (await site.post("/v1/chat/completions", ask))[0] == 503
            assert not draining.done()
            assert (await response.text()).endswith("data: [DONE]\n\n")
        async with asyncio.timeout(30):
            await draining


async def test_draining_gives_up_after_its_time() -> None:
    """None unless told."""
    async with start(SimulatorSpec(model="demo")) as site:
        ask = {"messages": HELLO, "max_tokens": 50_000, "stream": True}
        async with site.http.post("/v1/chat/completions", json=ask) as response:
            await response.content.readline()
            async with asyncio.timeout(30):
                await site.server.drain()
            response.close()


async def test_bodies_over_the_limit_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With FastAPI's shape of an error."""
    monkeypatch.setattr("igw.simulator.server.MAX_BODY_BYTES", 1000)
    async with start(SimulatorSpec(model="demo")) as small:
        status, body = await small.post("/v1/completions", {"prompt": "x" * 2000})
    assert (status, body) == (413, {"detail": "Request Entity Too Large"})


async def test_details_of_usage_are_left_out_when_told() -> None:
    """Whole and streamed, as vLLM without its flag."""
    async with start(SimulatorSpec(model="demo", speed=50, enable_prompt_tokens_details=False)) as site:
        ask = {"messages": HELLO, "max_tokens": 1}
        _, body = await site.post("/v1/chat/completions", ask)
        assert body["usage"]["prompt_tokens_details"] is None
        events = await site.events("/v1/chat/completions", ask | {"stream_options": {"include_usage": True}})
        assert "prompt_tokens_details" not in events[-1]["usage"]
        _, message = await site.post("/v1/messages", ask | {"model": "demo"})
        assert set(message["usage"]) == {"input_tokens", "output_tokens"}


async def test_priority_decides_who_runs_first() -> None:
    """Lower first, under that policy."""
    spec = SimulatorSpec(model="demo", max_num_seqs=1, scheduling_policy="priority")
    async with start(spec) as site:
        ask = {"messages": HELLO, "max_tokens": 20, "stream": True}
        async with site.http.post("/v1/chat/completions", json=ask) as first:
            await first.content.readline()
            late = await site.http.post("/v1/chat/completions", json=ask | {"priority": 5})
            soon = await site.http.post("/v1/chat/completions", json=ask | {"priority": 1})
            ended = []

            async def read(name: str, response: aiohttp.ClientResponse) -> None:
                await response.read()
                ended.append(name)

            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(read("late", late))
                group.create_task(read("soon", soon))
                group.create_task(read("first", first))
        assert ended == ["first", "soon", "late"]


async def test_a_scheduler_that_fails_takes_the_server_down_with_its_own_error() -> None:
    """Requests would wait for ever otherwise."""

    def broken(_now: float) -> None:
        raise ArithmeticError("a bug")

    server = ModelServer(SimulatorSpec(model="demo").server())
    server.engine.begin_step = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(ArithmeticError, match="a bug"):
        async with asyncio.timeout(30), server.serving("127.0.0.1", 0):
            await asyncio.Event().wait()


async def test_what_a_caller_raises_while_serving_comes_out_as_it_is() -> None:
    """Not in an exception group."""
    server = ModelServer(SimulatorSpec(model="demo").server())
    with pytest.raises(KeyError):
        async with server.serving("127.0.0.1", 0):
            raise KeyError


async def test_models_version_and_health_answer(site: Site) -> None:
    """And unknown paths get FastAPI's 404."""
    models = await site.openai.models.list()
    assert [model.id for model in models.data] == ["demo"]
    async with site.http.get("/version") as response:
        assert await response.json() == {"version": "0.32.0"}
    async with site.http.get("/health") as response:
        assert (response.status, await response.text()) == (200, "")
    async with site.http.get("/v1/nothing") as response:
        assert (response.status, await response.json()) == (404, {"detail": "Not Found"})


async def test_metrics_follow_the_traffic(site: Site) -> None:
    """Counted when the answer has ended."""
    for _ in range(2):
        await site.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 7})
    async with site.http.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#")
    labels = '{engine="0",model_name="demo"}'
    assert lines[f"vllm:generation_tokens_total{labels}"] == "14.0"
    assert lines[f"vllm:prompt_tokens_total{labels}"] == f"{2 * len(HELLO_TOKENS)}.0"
    assert lines[f"vllm:prompt_tokens_cached_total{labels}"] == f"{(len(HELLO_TOKENS) - 1) // 16 * 16}.0"
    assert lines[f"vllm:time_to_first_token_seconds_count{labels}"] == "2.0"
    assert lines[f"vllm:inter_token_latency_seconds_count{labels}"] == "12.0"
    success = 'vllm:request_success_total{engine="0",finished_reason="length",model_name="demo"}'
    assert lines[success] == "2.0"


async def test_an_unready_server_says_so_until_reset(site: Site) -> None:
    """Health and the API; metrics go on."""
    assert await site.post("/igw/faults", {"unready": True}) == (200, {"unready": True})
    async with site.http.get("/health") as response:
        assert response.status == 503
    status, body = await site.post("/v1/chat/completions", {"messages": HELLO})
    assert (status, body["error"]["code"]) == (503, 503)
    async with site.http.get("/metrics") as response:
        assert response.status == 200
    assert await site.post("/igw/faults", {}) == (200, {})
    async with site.http.get("/health") as response:
        assert response.status == 200


async def test_a_stream_can_be_cut_after_some_tokens_once(site: Site) -> None:
    """The connection closes without the last chunk; the next answer is whole, and the slot is free."""
    await site.post("/igw/faults", {"abort_after_tokens": 3, "once": True})
    ask = {"messages": HELLO, "max_tokens": 10, "stream": True}
    async with site.http.post("/v1/chat/completions", json=ask) as response:
        # The role, then three tokens; every event is followed by an empty line.
        got = [await response.content.readline() for _ in range(2 * (1 + 3))]
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readline()
    assert sum(line.startswith(b"data: ") for line in got) == 1 + 3
    assert site.server.engine.statistics().running == 0
    assert len(await site.events("/v1/chat/completions", ask)) == 1 + 10


async def test_an_answer_that_is_not_streamed_can_be_cut_until_reset(site: Site) -> None:
    """The client sees a closed connection each time."""
    await site.post("/igw/faults", {"abort_after_tokens": 0})
    for _ in range(2):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await site.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 5})
    await site.post("/igw/faults", {})
    assert (await site.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 5}))[0] == 200


async def test_a_delay_is_added_before_the_answer_starts(site: Site) -> None:
    """Not shortened by the server's speed; it counts as time to first token."""
    await site.post("/igw/faults", {"delay_seconds": 0.3})
    await site.post("/v1/chat/completions", {"messages": HELLO, "max_tokens": 1})
    async with site.http.get("/metrics") as response:
        text = await response.text()
    [line] = [line for line in text.splitlines() if line.startswith("vllm:time_to_first_token_seconds_sum")]
    assert float(line.rsplit(" ", 1)[1]) >= 0.3


@pytest.mark.parametrize("body", [{"unredy": True}, {"delay_seconds": -1}, {"abort_after_tokens": "two"}])
async def test_a_fault_that_does_not_exist_is_refused(site: Site, body: dict[str, Any]) -> None:
    """Nothing changes then."""
    status, reply = await site.post("/igw/faults", body)
    assert status == 400
    assert "`" in reply["error"]["message"]
    assert site.server.faults == type(site.server.faults)()
