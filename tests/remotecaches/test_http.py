"""Answers of caches: in pieces, too long, refused."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from igw.remotecaches.http import AnswerError, Client
from tests.remotecaches.http import fake


async def test_an_answer_in_pieces_is_read_whole() -> None:
    """The second one comes when the first one has been read."""
    read = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"[1,")
        await read.wait()
        await response.write(b"2]")
        return response

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            asked = asyncio.create_task(
                Client(session).post(f"http://127.0.0.1:{runner.addresses[0][1]}/", b"{}")
            )
            done, _ = await asyncio.wait((asked,), timeout=0.05)
            read.set()
            assert await asked == b"[1,2]"
            assert not done
    finally:
        await runner.cleanup()


async def test_an_answer_that_is_no_200_or_too_long_is_an_error() -> None:
    """Which says whose."""
    async with fake(lookup=500, long=b"x" * (4 << 20) + b"x") as (cache, client):
        with pytest.raises(AnswerError, match="/lookup answered 500"):
            await client.post(f"{cache.url}/lookup", b"{}")
        with pytest.raises(AnswerError, match=r"the answer of .*/long has more than 4194304 bytes"):
            await client.post(f"{cache.url}/long", b"{}")
