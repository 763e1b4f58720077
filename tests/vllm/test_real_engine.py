"""Envoy and the picker in front of two real vLLM servers: what is read of their metrics, and what is known of their caches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import numpy as np
import pytest
import yaml

from igw.app.picker import Picker
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.gateway.run import GatewayRunner
from igw.gateway.settings import GatewaySettings
from igw.prefix.chain import Prompt, packed
from igw.prefix.events import PORT_LABEL, REPLAY_LABEL
from igw.prefix.exact import ExactIndex
from igw.scheduling.producers.precise_prefix_cache import PrecisePrefixCacheProducer
from tests.vllm.conftest import BLOCK_TOKENS, BLOCKS, ENVIRONMENT, Server
from tests.vllm.model import ADAPTERS, NAME

pytestmark = pytest.mark.skipif(not (ENVIRONMENT / ".ready").exists(), reason="`make test-vllm` sets vLLM up")

POOL = Path(__file__).parent / "pool.yaml"
PATIENCE_SECONDS = 30.0
LETTERS = "abcdefghijklmnopqrstuvwxyz "


class Served(NamedTuple):
    """One answer: what the picker knew of the endpoint's cache when it chose it, and what the engine says that it found there."""

    endpoint: str
    prompt_tokens: int
    held: float
    cached: int

    @property
    def usable(self) -> int:
        """Of what is held, what an engine can use: whole blocks, and it always computes the last token."""
        return min(int(self.held), (self.prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS)


class Stack:
    """The whole of it, and the picker's inside."""

    def __init__(self, picker: Picker, metrics: str, url: str, http: aiohttp.ClientSession) -> None:
        self.picker, self.metrics, self.url, self.http = picker, metrics, url, http
        self.columns = next(iter(picker._pools.all()))
        (self.producer,) = [
            each
            for each in picker._router.plugins.by_name.values()
            if isinstance(each, PrecisePrefixCacheProducer)
        ]
        self.served: asyncio.Queue[Served] = asyncio.Queue()
        self.producer.doubts.served = lambda *seen: self.served.put_nowait(Served(*seen))  # type: ignore[method-assign]

    @property
    def index(self) -> ExactIndex:
        """What is known of the caches."""
        return self.producer.index

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Return once *true*(): for what servers tell in their own time."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not true():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never: {what}") from None

    def chat(self, text: str, model: str = NAME, **fields: Any) -> Any:
        """Send a chat; `async with` its answer."""
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, "max_tokens": 4, "ignore_eos": True} | fields
        return self.http.post(f"{self.url}/v1/chat/completions", json=body)

    async def answered(self, text: str, model: str = NAME) -> Served:
        """Return what is known of an answer, once the picker has been told of its end and of the blocks it left behind."""
        async with self.chat(text, model) as response:
            answer = await response.json()
            assert response.status == 200, answer
        async with asyncio.timeout(PATIENCE_SECONDS):
            served = await self.served.get()
        usage = answer["usage"]
        assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (
            served.prompt_tokens,
            served.cached,
        )
        whole = served.prompt_tokens // BLOCK_TOKENS * BLOCK_TOKENS
        prompt = await self.prompt(served.endpoint, text, model)
        await self.until(
            lambda: self.held(served.endpoint, prompt) == whole, "the blocks of this prompt are told of"
        )
        return served

    async def prompt(self, hostport: str, text: str, model: str) -> Prompt:
        """Return a chat in tokens, as the engine makes them."""
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        async with self.http.post(f"http://{hostport}/tokenize", json=body) as response:
            return Prompt(packed((await response.json())["tokens"]), adapter="" if model == NAME else model)

    def held(self, hostport: str, prompt: Prompt) -> int:
        """Return how many tokens of *prompt* an endpoint holds, as the index has it."""
        slot = self.index.slot_of(hostport)
        assert slot is not None
        return int(self.index.match(self.index.keys(prompt)).tokens[slot])

    def entries(self) -> int:
        """Return the blocks that all endpoints hold, as the index has it."""
        return self.index.statistics().entries

    async def reset(self, servers: tuple[Server, Server]) -> None:
        """Empty the caches of all servers, and wait until that is known. An engine tells with its next step, so it gets one."""
        for server in servers:
            short = {"model": NAME, "prompt": "hello", "max_tokens": 1}
            for path, body in (("/reset_prefix_cache", None), ("/v1/completions", short)):
                async with self.http.post(server.url + path, json=body) as response:
                    assert response.status == 200
        await self.until(lambda: self.entries() == 0, "the caches are empty")

    def whole(self) -> bool:
        """Return whether everything is known that the engines told since their start."""
        return bool(self.index.whole(np.arange(2)).all())


@asynccontextmanager
async def stack(servers: tuple[Server, Server], folder: Path) -> AsyncIterator[Stack]:
    """Run picker and Envoy in front of *servers*."""
    endpoints = [
        {"name": f"vllm-{number}", "address": "127.0.0.1", "port": server.port,
         "labels": {"app": NAME, PORT_LABEL: str(server.events_port), REPLAY_LABEL: str(server.replay_port)}}
        for number, server in enumerate(servers)
    ]  # fmt: skip
    file = folder / "all.yaml"
    text = POOL.read_text().replace("http://127.0.0.1:8000", servers[0].url)
    file.write_text(f"{text}---\n{yaml.safe_dump({'endpoints': endpoints})}")
    settings = PickerSettings(paths=(file,), grpc_port=0, health_port=0, metrics_port=0, drain_seconds=0.5)
    picker = Picker(settings)
    async with (
        picker.running() as addresses,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http,
        GatewayRunner(load([file]), GatewaySettings(picker=addresses.grpc, free_ports=True)) as gateway,
    ):
        assert await gateway.finds_picker(within_seconds=20)
        (listener,) = gateway.addresses.values()
        made = Stack(picker, addresses.metrics, f"http://{listener}", http)
        await made.until(lambda: bool(made.columns.reported.all()), "both servers are scraped")
        # What the engines told before the picker came is asked for again with the first message that it hears.
        while not made.whole():
            await made.reset(servers)
        yield made


def text(draw: random.Random, tokens: int) -> str:
    """Return what makes about that many tokens: the model's are bytes."""
    return "".join(draw.choices(LETTERS, k=tokens))


async def test_metrics_and_adapters_of_real_servers_are_understood(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """Nothing is missing; a request that runs is counted; an adapter that runs is seen, and gets the next requests for it."""
    async with stack(servers, tmp_path) as site:
        async with site.http.get(f"http://{site.metrics}/metrics") as response:
            page = await response.text()
        for server in servers:
            where = f'endpoint="{server.hostport}"'
            assert (
                f'igw_engine_info{{accelerator="",chosen_by="page",{where},engine="vllm",name="default/{NAME}"}} 1.0'
                in page
            )
            assert (
                f'igw_engine_kv_capacity_tokens{{{where},name="default/{NAME}"}} {BLOCKS * BLOCK_TOKENS}.0'
                in page
            )
        assert "igw_engine_metrics_missing{" not in page
        adapter = ADAPTERS[0]
        async with site.chat("a long answer", adapter, max_tokens=6000, stream=True) as response:
            assert response.status == 200
            await site.until(lambda: site.columns.running.sum() == 1, "one request runs")
            (row,) = site.columns.running.nonzero()[0].tolist()
            await site.until(lambda: site.columns.adapters[row].running == {adapter}, "the adapter runs")
            assert site.columns.adapters[row].most == 2
            assert site.columns.kv_usage[row] > 0
            endpoint = site.columns.pool.endpoints[row].hostport
            for _ in range(4):
                served = await site.answered(text(random.Random(1), 50), adapter)
                assert served.endpoint == endpoint
        await site.until(lambda: site.columns.running.sum() == 0, "the client left, and nothing runs")


async def test_cached_tokens_are_as_predicted_through_eviction_and_reset(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    """Every answer's `cached_tokens` is what the picker knew when it chose: after hits, evictions, for adapters, after a reset."""
    draw = random.Random(8)
    prompts = [text(draw, 1000 + 100 * number) for number in range(24)]
    async with stack(servers, tmp_path) as site:
        seen = [await site.answered(prompt) for prompt in prompts[:3] for _ in range(2)]
        assert [0, 992, 0, 1088, 0, 1184] == [each.cached // BLOCK_TOKENS * BLOCK_TOKENS for each in seen]
        seen += [await site.answered(prompt) for prompt in prompts]
        stored = sum([site.index.told(server.hostport)[0] for server in servers])
        assert stored > 2 * BLOCKS >= site.entries(), "some must have been evicted"
        # Those that were asked for last are still there, those of the start are not.
        seen += [await site.answered(prompt) for prompt in reversed(prompts)]
        lora = [await site.answered(prompts[-1], ADAPTERS[1]) for _ in range(2)]
        assert lora[0].cached == 0 < lora[1].cached
        await site.reset(servers)
        again = [await site.answered(prompts[-1]) for _ in range(2)]
        assert again[0].cached == 0 < again[1].cached
        seen += lora + again
        assert [each.cached for each in seen] == [each.usable for each in seen]
        assert 5 < sum([each.cached == 0 for each in seen[-28:]])
        assert 5 < sum([each.cached > 0 for each in seen[-28:]])
        statistics = site.index.statistics()
        assert statistics.orphans == statistics.malformed == statistics.refused == statistics.skipped == 0
