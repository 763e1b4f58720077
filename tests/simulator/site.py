"""A running server of one test and three ways to talk to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.server import ModelServer
from igw.simulator.text import render_chat, tokenize

HELLO: list[Any] = [{"role": "user", "content": "Hello, who are you and what can you do for me today? " * 4}]
HELLO_TOKENS = tokenize(render_chat(HELLO))


class Site:
    """A running server and two ways to talk to it."""

    def __init__(
        self, server: ModelServer, port: int, http: aiohttp.ClientSession, openai: AsyncOpenAI
    ) -> None:
        self.server = server
        self.port = port
        self.http = http
        self.openai = openai

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        async with self.http.post(path, json=body, **options) as response:
            return response.status, await response.json()

    async def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """JSON of each event of a stream that ends as it should."""
        async with self.http.post(path, json=body | {"stream": True}) as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            parts = (await response.text()).split("\n\n")
        assert parts[-2:] == ["data: [DONE]", ""]
        return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        async with self.http.get(path) as response:
            return response.status, await response.json()

    async def named_events(self, path: str, body: dict[str, Any]) -> list[Any]:
        """JSON of each event of a stream whose events have names; the name is the type."""
        async with self.http.post(path, json=body | {"stream": True}) as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            *parts, end = (await response.text()).split("\n\n")
        assert end == ""
        events = []
        for part in parts:
            name, data = part.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
        return events

    async def idle(self) -> None:
        """Wait until the engine has nothing to do."""
        async with asyncio.timeout(30):
            await self.server.driver.idle.wait()


@asynccontextmanager
async def start(spec: SimulatorSpec) -> AsyncIterator[Site]:
    """Serve *spec*; the site is closed with its clients."""
    server = ModelServer(spec.server())
    async with server.serving("127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}"
        async with (
            aiohttp.ClientSession(url) as http,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as openai,
        ):
            yield Site(server, port, http, openai)
