"""Asking a server for tokens: render endpoints, `/tokenize` instead, media, servers that fail or are slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from igw.parsing.reading import read
from igw.prefix.chain import Placed, Prompt, packed
from igw.request import Head, Request
from igw.tokenizing.rendering import Renderer

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def request(path: str = CHAT, **body: Any) -> Request:
    """Return a request as the picker reads it."""
    body = body or {
        "messages": [{"role": "user", "content": 'the "model":"llama" is good'}],
        "model": "llama",
    }
    return read(Head(path, "POST", {}), json.dumps(body).encode())


class Server:
    """A server that answers by path, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {path.replace("_", "/"): answer for path, answer in answers.items()}
        self.asked: list[tuple[str, Any]] = []

    async def handle(self, asked: web.Request) -> web.Response:
        self.asked.append((asked.path, json.loads(await asked.read())))
        answer = self.answers.get(asked.path, 404)
        return web.Response(status=answer) if isinstance(answer, int) else web.json_response(answer)


@asynccontextmanager
async def served(
    handle: Answer, model: str = "", clock: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Renderer]:
    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Renderer(session, f"http://127.0.0.1:{runner.addresses[0][1]}/", model, clock)
    finally:
        await runner.cleanup()


async def test_a_chat_is_rendered() -> None:
    """As vLLM 0.32 answers; the body goes as it came."""
    server = Server(_v1_chat_completions_render={"token_ids": [1, 4, 78], "features": None, "model": "m"})
    async with served(server.handle) as renderer:
        assert await renderer.tokens(request()) == Prompt(packed([1, 4, 78]))
    assert server.asked[0][1]["model"] == "llama"


async def test_a_long_prompt_s_tokens_come_in_pieces() -> None:
    """Whoever has the first one waits for the others."""
    read = asyncio.Event()

    async def handle(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(asked)
        await response.write(b'{"token_ids": [1,')
        await read.wait()
        await response.write(b"4]}")
        return response

    async with served(handle) as renderer:
        tokens = asyncio.create_task(renderer.tokens(request()))
        done, _ = await asyncio.wait((tokens,), timeout=0.05)
        read.set()
        assert await tokens == Prompt(packed([1, 4]))
        assert not done


async def test_the_first_of_several_prompts_counts() -> None:
    """A completion is answered by a list, even of one."""
    server = Server(_v1_completions_render=[{"token_ids": [7]}, {"token_ids": [8]}])
    async with served(server.handle) as renderer:
        assert await renderer.tokens(request(COMPLETION, model="m", prompt=["a", "b"])) == Prompt(packed([7]))


async def test_the_servers_name_of_the_model_takes_the_clients_place() -> None:
    """And only there, whatever the messages say."""
    server = Server(_v1_chat_completions_render={"token_ids": [1]})
    async with served(server.handle, "meta/llama") as renderer:
        await renderer.tokens(request())
    _, body = server.asked[0]
    assert body["model"] == "meta/llama"
    assert body["messages"][0]["content"] == 'the "model":"llama" is good'


async def test_a_server_that_does_not_render_may_tokenize() -> None:
    """It is asked once whether it renders."""
    server = Server(_v1_chat_completions_render=403, _tokenize={"tokens": [5, 6], "count": 2})
    async with served(server.handle) as renderer:
        for _ in range(2):
            assert await renderer.tokens(request()) == Prompt(packed([5, 6]))
    assert [path for path, _ in server.asked] == ["/v1/chat/completions/render", "/tokenize", "/tokenize"]


async def test_salt_and_media_come_along() -> None:
    """The salt from the request, media and their places from the server."""
    features = {"mm_hashes": {"image": ["abc"]}, "mm_placeholders": {"image": [{"offset": 1, "length": 2}]}}
    server = Server(_v1_chat_completions_render={"token_ids": [1, 9, 9, 2], "features": features})
    picture = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    asked = request(model="m", messages=[{"role": "user", "content": [picture]}], cache_salt="pepper")
    async with served(server.handle) as renderer:
        assert await renderer.tokens(asked) == Prompt(
            packed([1, 9, 9, 2]), "", "pepper", (Placed("abc", 1, 2),)
        )


async def test_media_whose_place_nobody_says_make_no_tokens() -> None:
    """Their blocks would pass for those of other pictures."""
    server = Server(_tokenize={"tokens": [1]})
    picture = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    async with served(server.handle) as renderer:
        assert (
            await renderer.tokens(request(model="m", messages=[{"role": "user", "content": [picture]}]))
            is None
        )


async def test_other_apis_are_not_asked_for() -> None:
    """Nor requests whose body is not known."""
    server = Server()
    async with served(server.handle) as renderer:
        assert await renderer.tokens(request("/v1/embeddings", model="m", input="x")) is None
        assert await renderer.tokens(Request(Head(CHAT, "POST", {}), api="chat/completions")) is None
    assert server.asked == []


async def test_a_server_that_fails_is_left_alone_for_a_while() -> None:
    """After five times in a row, for five seconds."""
    now = [0.0]
    server = Server(_v1_chat_completions_render=500)
    async with served(server.handle, clock=lambda: now[0]) as renderer:
        for _ in range(8):
            assert await renderer.tokens(request()) is None
        assert len(server.asked) == 5
        now[0] = 5.0
        await renderer.tokens(request())
        assert len(server.asked) == 6


async def test_a_server_that_is_late_is_left_alone_too() -> None:
    """Who waits for it gives up; so that not every request waits for as long."""
    arrived, never = asyncio.Event(), asyncio.Event()

    async def handle(_request: web.Request) -> web.Response:
        arrived.set()
        await never.wait()
        return web.Response()

    async with served(handle) as renderer:
        for _ in range(5):
            task = asyncio.create_task(renderer.tokens(request()))
            await arrived.wait()
            arrived.clear()
            task.cancel()
            assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError
        assert await renderer.tokens(request()) is None
        assert not arrived.is_set()
        never.set()


async def test_nonsense_makes_no_tokens() -> None:
    """An answer of another form, or tokens that are none."""
    for answer in ([], {}, {"token_ids": [-1]}, {"token_ids": "x"}, "?"):
        server = Server(_v1_chat_completions_render=answer)
        async with served(server.handle) as renderer:
            assert await renderer.tokens(request()) is None


async def test_a_model_that_a_rewrite_chose_takes_the_clients_place() -> None:
    """The server knows no other."""
    server = Server(_v1_chat_completions_render={"token_ids": [1]})
    async with served(server.handle) as renderer:
        await renderer.tokens(msgspec.structs.replace(request(), target_model="llama-canary"))
    assert server.asked[0][1]["model"] == "llama-canary"
