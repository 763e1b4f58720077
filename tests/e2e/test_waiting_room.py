"""Clients that ask are told how long they wait, through the real Envoy: comments in the stream, then the answer, or why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from igw.waitingroom.entrance import UPDATES
from igw.waitingroom.tickets import TOKEN
from tests.e2e.harness import MODEL, Stack
from tests.e2e.test_flow_control import ONE_EACH, SIZE, ask, narrow
from tests.e2e.test_full_duplex import foreign

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWO_WAIT = ONE_EACH.replace("flowControl: {", "flowControl: {maxRequests: 2, ")
"""Two servers with one request each, and two that may wait."""

OPEN = "igw_reservations_open"
WANTED = {UPDATES: "true"}
PLACE = re.compile(rb"^: queue position (\d+)(, expected wait \d+\.\d s)?\n$")


def asking(running: Stack, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """Send a request for a stream whose client wants to be told."""
    return running.http.post(
        f"{running.url}/v1/chat/completions",
        json={
            "model": MODEL,
            "messages": [{"role": "user", "content": "how long do I wait?"}],
            "max_tokens": 8,
            "stream": True,
            "stream_options": {"include_usage": True},
            **fields,
        },
        headers=WANTED | (headers or {}),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One stack for all: starting it takes longer than a test."""
    async with narrow(tmp_path_factory.mktemp("stack"), config=TWO_WAIT) as made:
        yield made


@contextlib.asynccontextmanager
async def busy(running: Stack, tokens: int = 60_000) -> AsyncIterator[Callable[[], None]]:
    """Keep both servers busy until the block is left, or until what it gets is called."""
    tasks = [asyncio.create_task(ask(running, str(n), max_tokens=tokens)) for n in range(2)]

    def end() -> None:
        for task in tasks:
            task.cancel()

    try:
        await running.becomes("igw_inflight_requests", 2)
        yield end
    finally:
        end()
        await asyncio.gather(*tasks, return_exceptions=True)
        await running.becomes(OPEN, 0)


async def place(response: aiohttp.ClientResponse) -> int:
    """Return the position that the next comment of *response* tells."""
    found = PLACE.match(await response.content.readline())
    assert found is not None
    return int(found[1])


def error_of(said: bytes) -> dict[str, Any]:
    """Return the error that the events of *said* end with."""
    *_, event, done = [line for line in said.splitlines() if line.startswith(b"data: ")]
    assert b"data: [DONE]" == done
    error: dict[str, Any] = json.loads(event[6:])["error"]
    return error


COUNTED = {
    "llm_d_epp_request_total": 3,  # the two that kept the servers busy as well, whose clients have left
    "llm_d_epp_scheduler_attempts_total": 3,
    "llm_d_epp_request_output_tokens_sum": 8,
    "llm_d_epp_request_output_tokens_count": 1,
    "llm_d_epp_request_ttft_seconds_count": 1,
    "llm_d_epp_request_duration_seconds_count": 1,
    "llm_d_epp_request_error_total": 0,
}


async def counts(running: Stack) -> dict[str, float]:
    """Return what the picker has counted so far."""
    return {name: await running.metric(name) for name in COUNTED}


async def test_a_client_reads_where_it_stands_and_then_its_answer(running: Stack) -> None:
    """At once, and then to the letter what it reads when it does not have to wait. Everything is counted once."""
    async with asking(running) as response:
        plain = await response.read()
    assert b": queue" not in plain
    await running.becomes(OPEN, 0)
    before = await counts(running)
    async with busy(running) as end, asking(running) as response:
        assert 200 == response.status
        assert "text/event-stream" == response.content_type
        assert 1 == await place(response)
        assert 1 == await running.metric(SIZE)
        end()
        said = await response.read()
    texts = ["".join(re.findall(r'"content":\s*"([^"]*)"', each.decode())) for each in (plain, said)]
    assert texts[0] == texts[1] != ""
    assert said.endswith(b"data: [DONE]\n\n")
    assert COUNTED == {name: value - before[name] for name, value in (await counts(running)).items()}
    async with running.http.get(f"http://{running.picker_addresses['metrics']}/metrics") as page:
        assert 'endpoint_name="waiting-room"' not in await page.text()


async def test_all_wait_in_one_queue(running: Stack) -> None:
    """Whoever leaves it frees its place at once; when it is full that is told as it is to others, before anything has been sent."""
    async with busy(running) as end:
        other = asyncio.create_task(ask(running, "other", max_tokens=8))
        await running.becomes(SIZE, 1)
        async with asking(running) as response:
            assert 2 == await place(response)
            async with asking(running) as refused:
                assert 429 == refused.status
                assert "rejected-saturated" == refused.headers["x-llm-d-request-dropped-reason"]
            response.close()
        await running.becomes(SIZE, 1, within_seconds=1.0)
        end()
        assert 200 == (await other)[0]


async def test_who_waits_in_vain_reads_why_as_an_event(running: Stack) -> None:
    """The official SDK passes over the comments and raises the error."""
    client = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
    late = WANTED | {"x-igw-queue-ttl-ms": "300"}
    async with busy(running):
        async with asking(running, late) as response:
            assert 200 == response.status
            said = await response.read()
        assert b": rejected-ttl-expired\n" in said
        assert b"\nretry: " in said
        assert "rate_limit_error" == error_of(said)["type"]
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hi"}],
            max_tokens=8,
            stream=True,
            extra_headers=late,
        )
        with pytest.raises(openai.APIError, match="timed out in queue"):
            async for _ in stream:
                raise AssertionError("nothing was to come")
    await client.close()
    assert 0 == await running.metric(SIZE)


async def test_a_client_that_leaves_in_the_middle_of_its_answer_ends_its_reservation(running: Stack) -> None:
    """The answer is no longer the gateway's to watch."""
    async with busy(running) as end:
        leaving = await asking(running, max_tokens=60_000)
        assert 1 == await place(leaving)
        end()
        while b"data: " not in await leaving.content.readline():
            pass
        await running.becomes(OPEN, 1)
        leaving.close()
        await running.becomes(OPEN, 0, within_seconds=1.0)


async def test_an_error_of_the_model_server_is_an_event_of_the_stream(running: Stack) -> None:
    """In its own words: it is too late for a status."""
    async with busy(running) as end, asking(running, model="unheard-of") as response:
        assert 1 == await place(response)
        end()
        assert "unheard-of" in error_of(await response.read())["message"]


async def test_who_asks_for_an_answer_in_one_piece_waits_as_before(running: Stack) -> None:
    """There is nothing before it that could say anything."""
    async with busy(running) as end:
        whole = asyncio.create_task(asking(running, stream=False, stream_options=None).__aenter__())
        await running.becomes(SIZE, 1)
        end()
        assert (await (await whole).json())["choices"]


async def test_nobody_gets_in_without_a_token(running: Stack) -> None:
    """It is not a way around the gateway."""
    room = f"http://{running.picker_addresses['waiting_room']}/v1/chat/completions"
    for headers in ({}, {TOKEN: "x" * 43}):
        async with running.http.post(room, json={}, headers=headers) as response:
            assert 404 == response.status


async def test_a_gateway_of_others_finds_the_way(tmp_path: Path) -> None:
    """Its answers pass through the picker as well: counted once all the same."""
    file = tmp_path / "picker.yaml"
    file.write_text(TWO_WAIT)
    async with foreign(tmp_path, 2, picker_flags=("--config-file", str(file))) as running:
        before = await counts(running)
        async with busy(running) as end, asking(running) as response:
            assert 1 == await place(response)
            end()
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        assert COUNTED == {name: value - before[name] for name, value in (await counts(running)).items()}
