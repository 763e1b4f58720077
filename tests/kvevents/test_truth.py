"""What the index says of a prompt is what the engine finds in its cache: a simulated server, its events, its tokenizer, and its own count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from igw.endpoint import Endpoint
from igw.kvevents.listening import KvEvents
from igw.kvevents.settings import EventSettings
from igw.parsing.reading import read
from igw.prefix.exact import ExactIndex
from igw.request import Head
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.manifest import SimulatorSpec
from igw.simulator.server import ModelServer
from igw.tokenizing.rendering import Renderer

CHAT = "/v1/chat/completions"
SYSTEM = "You answer in few words and never say more than you were asked for. " * 12


class Site:
    """One server, and an index that follows it."""

    def __init__(
        self, server: ModelServer, port: int, http: aiohttp.ClientSession, index: ExactIndex
    ) -> None:
        self.server, self.port, self.index, self._http = server, port, index, http
        self.source: Any = None
        self._renderer = Renderer(http, f"http://127.0.0.1:{port}", "", lambda: 0.0)
        self.told = asyncio.Event()
        apply = index.apply

        def applied(slot: int, events: Any) -> None:
            apply(slot, events)
            self.told.set()

        index.apply = applied  # type: ignore[method-assign]

    async def post(self, path: str, body: Any = None) -> str:
        async with self._http.post(f"http://127.0.0.1:{self.port}{path}", json=body) as response:
            text = await response.text()
            assert response.status == 200, text
            return text

    async def predicted(self, messages: list[dict[str, str]]) -> int:
        """Return the tokens that the index says are cached; at least one of a prompt is always computed."""
        body = json.dumps({"model": "demo", "messages": messages}).encode()
        prompt = await self._renderer.tokens(read(Head(CHAT, "POST", {}), body))
        assert prompt is not None
        held = int(self.index.match(self.index.keys(prompt)).tokens[0]) if self.index.block_sizes else 0
        return min(held, (len(prompt) - 1) // 16 * 16)

    async def cached(self, messages: list[dict[str, str]]) -> tuple[int, str]:
        """Return the tokens that the engine found, and its answer."""
        body = {"model": "demo", "messages": messages, "max_tokens": 8}
        answer = json.loads(await self.post(CHAT, body))
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"], answer["choices"][0]["message"][
            "content"
        ]

    async def settled(self) -> None:
        """Return when the index has all that the engine told."""
        assert self.server.state.kv_events is not None
        [publisher] = self.server.state.kv_events.publishers
        while self.source._numbering.next != publisher._sequence or publisher._pending:
            self.told.clear()
            await self.told.wait()


@asynccontextmanager
async def site(**spec: Any) -> AsyncIterator[Site]:
    config = KvEventsConfig(
        enable_kv_cache_events=True, endpoint="tcp://127.0.0.1:*", replay_endpoint="tcp://127.0.0.1:*"
    )
    server = ModelServer(SimulatorSpec(model="demo", speed=100.0, kv_events_config=config, **spec).server())
    index = ExactIndex()
    async with server.serving("127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        assert server.state.kv_events is not None
        [publisher] = server.state.kv_events.publishers
        ports = [
            (address or "").rpartition(":")[2] for address in (publisher.endpoint, publisher.replay_endpoint)
        ]
        labels = dict(zip(("igw.dev/kv-events-port", "igw.dev/kv-events-replay-port"), ports, strict=True))
        made, events = Site(server, port, http, index), KvEvents(EventSettings(), index)
        async with asyncio.TaskGroup() as group, asyncio.timeout(40):
            events.follow((Endpoint.at("127.0.0.1", port, labels=labels),), group)
            [made.source] = events._sources.values()
            try:
                yield made
            finally:
                await events.close()


async def caught_up(one: Site) -> None:
    """Clear the cache until the index hears of it: afterwards everything reaches it."""
    while not one.told.is_set():
        await one.post("/reset_prefix_cache")
        try:
            async with asyncio.timeout(0.05):
                await one.told.wait()
        except TimeoutError:
            continue


async def test_the_index_predicts_what_the_engine_finds() -> None:
    """Conversations that go on, prompts that share a beginning, evictions in a small cache, and a reset."""
    async with site(num_gpu_blocks=90, enable_prompt_tokens_details=True) as one:
        await caught_up(one)
        hits, misses = 0, 0
        for turn in range(24):
            await one.settled()
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"topic {turn % 7} " * 30},
            ]
            for _ in range(2):
                predicted = await one.predicted(messages)
                cached, answer = await one.cached(messages)
                assert cached == predicted
                hits, misses = hits + (cached > 0), misses + (cached == 0)
                messages += [
                    {"role": "assistant", "content": answer},
                    {"role": "user", "content": "and then?"},
                ]
                await one.settled()
            if turn == 12:
                await one.post("/reset_prefix_cache")
        assert hits > 20
        assert misses >= 2
        statistics = one.index.statistics()
        assert statistics.orphans == statistics.malformed == statistics.refused == 0
        stored, _ = one.index.told(one.source.hostport)
        assert stored > 90 >= statistics.entries, "some must have been evicted"
