"""Who is asked for tokens: a server, the files of a model, or the endpoints of the pool."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.parsing.reading import read
from igw.prefix.chain import Prompt, packed
from igw.prefix.events import PORT_LABEL
from igw.request import Head, Request
from igw.scheduling.producers.token import TokenProducer
from igw.tokenizing.following import Following
from tests.tokenizing import models


def producer(**parameters: Any) -> TokenProducer:
    return msgspec.convert(parameters, TokenProducer)


def request() -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello world"}]}
    return read(Head("/v1/chat/completions", "POST", {}), json.dumps(body).encode())


@pytest.fixture
async def following() -> AsyncIterator[Following]:
    made = Following(lambda: 0.0)
    yield made
    await made.close()


async def test_producers_are_given_somebody_to_ask(following: Following, tmp_path: Path) -> None:
    """Those that have nothing to do are not."""
    plugins = {
        "a": producer(),
        "b": producer(vllm={"url": "http://127.0.0.1:1"}),
        "c": producer(local={"modelTokenizerMap": {"m": str(models.folder(tmp_path / "m"))}}),
    }
    following.follow(plugins)
    assert plugins["a"].ask is None
    assert plugins["b"].ask is not None
    assert plugins["c"].ask is not None
    assert await plugins["b"].ask(request(), ()) is None
    assert await plugins["c"].ask(request(), ()) == Prompt(packed([1, 4, 78, 363, 491, 266, 877, 6, 5]))


async def test_a_producer_that_stays_keeps_what_it_remembers(following: Following, tmp_path: Path) -> None:
    """The threads of one that goes end."""
    local = producer(local={"modelTokenizerMap": {"m": str(models.folder(tmp_path / "m"))}})
    following.follow({"a": local})
    ask = local.ask
    following.follow({"b": local})
    assert local.ask == ask
    following.follow({})
    assert ask is not None
    with pytest.raises(RuntimeError, match="shutdown"):
        await ask(request(), ())


def test_what_is_not_installed_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the configuration, not of some request."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else object())
    with pytest.raises(ConfigError, match=r"jinja2 not installed.*igw\[tokenizers\]"):
        Following(lambda: 0.0).follow({"a": producer(local={"modelTokenizerMap": {"m": "x"}})})


class Servers:
    """Endpoints that tokenize, and note who was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.down: set[str] = set()

    async def tokenize(self, asked: web.Request) -> web.Response:
        if not asked.path.endswith("tokenize"):
            return web.Response(status=404)
        self.asked.append(asked.headers["host"])
        if asked.headers["host"] in self.down:
            return web.Response(status=500)
        return web.json_response({"tokens": [1, 2]})


async def test_endpoints_that_publish_are_asked_in_turn(following: Following) -> None:
    """One that fails is left alone; others, whose tokens would be of no use, are never asked."""
    servers = Servers()
    app = web.Application()
    app.router.add_post("/{path:.*}", servers.tokenize)
    runner = web.AppRunner(app)
    await runner.setup()
    endpoints: list[Endpoint] = []
    for label in ({PORT_LABEL: "1"}, {}, {PORT_LABEL: "2"}):
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[-1][1]
        endpoints.append(Endpoint.at("127.0.0.1", port, labels=label))
    first, silent, second = endpoints
    asking = producer(endpoints={})
    following.follow({"a": asking})
    assert asking.ask is not None
    try:
        assert await asking.ask(request(), (silent,)) is None
        for _ in range(6):
            assert await asking.ask(request(), tuple(endpoints)) == Prompt(packed([1, 2]))
        assert set(servers.asked) == {first.hostport, second.hostport}
        servers.down.add(first.hostport)
        for _ in range(30):
            await asking.ask(request(), tuple(endpoints))
        servers.asked.clear()
        for _ in range(6):
            assert await asking.ask(request(), tuple(endpoints)) == Prompt(packed([1, 2]))
        assert set(servers.asked) == {second.hostport}
    finally:
        await runner.cleanup()
