"""Holding conversations: what is sent, what is judged, and how failures are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from igw.stack import drive
from igw.stack.drive import Answer, Messages
from igw.stack.supervisor import PartFailed
from igw.stack.traffic import Conversation, Turn

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 4},
}
WHOLE = Turn("q1", max_tokens=2, streamed=False, pause_seconds=0)
STREAMED = msgspec.structs.replace(WHOLE, question="q2", streamed=True)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Give a function that serves chats with a handler and returns the base URL."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        return str(servers[-1].make_url("/v1"))

    yield start
    for server in servers:
        await server.close()


def body(text: str) -> dict[str, Any]:
    """Return an answer that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
    }


def chunk(text: str | None, usage: dict[str, Any] | None = None) -> bytes:
    """Return one event of a stream."""
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    event = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    }
    return b"data: " + json.dumps(event).encode() + b"\n\n"


async def stream(request: web.Request, *events: bytes) -> web.StreamResponse:
    """Begin a stream with *events*."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(event)
    return response


async def hold(base_url: str, *turns: Turn, judge: drive.Judge = lambda *_: "") -> list[Answer]:
    """Hold one conversation; every look at the clock is a second later."""
    ticks = iter(range(1000))
    async with drive.client(base_url) as talk:
        return await drive.hold(talk, "m", [Conversation("system", turns)], judge, lambda: next(ticks))


async def test_every_turn_sends_the_whole_conversation_so_far(serve: Any) -> None:
    """The answers are part of what is asked next, streamed or not."""
    sent: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        sent.append(asked["messages"])
        if not asked.get("stream"):
            return web.json_response(body(f"a{len(sent)}"))
        return await stream(
            request, chunk(""), chunk("a"), chunk("2"), chunk(None, USAGE), b"data: [DONE]\n\n"
        )

    answers = await hold(await serve(handler), WHOLE, STREAMED, WHOLE)
    assert [[message["content"] for message in messages] for messages in sent] == [
        ["system", "q1"],
        ["system", "q1", "a1", "q2"],
        ["system", "q1", "a1", "q2", "a2", "q1"],
    ]
    usage = {"prompt_tokens": 9, "cached_tokens": 4, "completion_tokens": 2}
    assert answers == [
        Answer(streamed=False, text="a1", **usage),
        Answer(streamed=True, text="a2", ttft_seconds=1, **usage),
        Answer(streamed=False, text="a3", **usage),
    ]


async def test_the_judge_sees_what_was_asked_and_its_complaint_is_kept(serve: Any) -> None:
    """A wrong answer does not end the conversation."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.json_response(body("no"))

    def judge(messages: Messages, turn: Turn, answer: Answer) -> str:
        return f"{messages[-1]['role']} {turn.question} {answer.text} {len(messages)}"

    answers = await hold(await serve(handler), WHOLE, WHOLE, judge=judge)
    assert [answer.wrong for answer in answers] == ["user q1 no 2", "user q1 no 4"]


async def test_a_refusal_is_told_with_its_status_and_is_not_sent_again(serve: Any) -> None:
    """The conversation ends there: what would follow has lost its sense."""
    asked = 0

    async def handler(_request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.json_response({"error": {"message": "nothing is ready"}}, status=503)

    (answer,) = await hold(await serve(handler), WHOLE, STREAMED)
    assert asked == 1
    assert "503" in answer.error
    assert "nothing is ready" in answer.error


async def test_a_stream_that_breaks_off_is_an_error(serve: Any) -> None:
    """Half an answer is none."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request, chunk("half"))
        assert request.transport is not None
        request.transport.abort()
        return response

    (answer,) = await hold(await serve(handler), STREAMED)
    assert answer.error
    assert answer.text == ""


async def test_an_abandoned_request_is_hung_up_in_the_middle(serve: Any) -> None:
    """The server sees the connection close while it still has much to say."""
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert (await request.json())["max_tokens"] > 1000
        response = await stream(request)
        try:
            while True:
                await response.write(chunk("word "))
                await asyncio.sleep(0)
        finally:
            gone.set()

    async with drive.client(await serve(handler)) as talk, asyncio.timeout(10):
        await drive.abandon(talk, "m", Conversation("system", (WHOLE,)))
        await gone.wait()


@pytest.mark.parametrize(
    ("status", "listed", "complaint"),
    [(200, [], "lists no model"), (503, [], "503")],
    ids=["none", "refused"],
)
async def test_servers_that_name_no_model_are_told_by_the_question(
    status: int, listed: list[Any], complaint: str
) -> None:
    """The address that was asked is in the message."""

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": listed}, status=status)

    app = web.Application()
    app.router.add_get("/v1/models", handler)
    async with TestServer(app) as server, drive.client(str(server.make_url("/v1"))) as talk:
        with pytest.raises(PartFailed, match=rf"model servers: GET http://.*/v1/models.*{complaint}"):
            await drive.first_model(talk)
