"""A cache over HTTP that answers by path and remembers what it was asked; and questions to put to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from igw.endpoint import Endpoint
from igw.prefix.api import Cost, Question
from igw.prefix.chain import Prompt, packed
from igw.remotecaches.http import Client

ENDPOINTS = tuple(Endpoint.at(f"10.0.0.{last}", 8000, f"e{last}") for last in range(1, 4))
COSTS = {
    name: Cost(number / 1000, number * 1e-6)
    for number, name in enumerate(("cpu", "disk", "remote", "peer"), 1)
}
TOKENS = list(range(100, 612))


def question(model: str = "m", tokens: list[int] | None = TOKENS, **more: Any) -> Question:
    """Return a question about so many tokens; None for a prompt that has none."""
    prompt = None if tokens is None else Prompt(packed(tokens), **more)
    return Question(model, ENDPOINTS, prompt)


class Fake:
    """What is answered to each path: a value as JSON, a status, or what a function makes of the question."""

    def __init__(self, url: str, answers: dict[str, Any]) -> None:
        self.url = url
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Answer."""
        packed = request.content_type == "application/msgpack"
        decode = msgspec.msgpack.decode if packed else msgspec.json.decode
        body = decode(await request.read())
        self.asked.append((request.path, body))
        answer = self.answers.get(request.path, 404)
        if isinstance(answer, Callable):  # type: ignore[arg-type]
            answer = answer(body)
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, bytes):
            return web.Response(body=answer)
        encode = msgspec.msgpack.encode if packed else msgspec.json.encode
        return web.Response(body=encode(answer), content_type=request.content_type)


@asynccontextmanager
async def fake(**answers: Any) -> AsyncIterator[tuple[Fake, Client]]:
    """Serve *answers*, paths without their slash, while the context is open."""
    app, cache = web.Application(), Fake("", {f"/{path}": answer for path, answer in answers.items()})
    app.router.add_post("/{path:.*}", cache.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        cache.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as session:
            yield cache, Client(session)
    finally:
        await runner.cleanup()
