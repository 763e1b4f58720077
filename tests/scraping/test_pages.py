"""Several pages of one endpoint, as real servers on loopback give them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from igw.endpoint import Endpoint
from igw.scraping.access import Access, Credentials, session
from igw.scraping.mapping import Engine, named
from igw.scraping.pages import Pages
from igw.scraping.reader import Engines
from igw.scraping.settings import Scraping

ENGINE = "vllm:num_requests_waiting 3\nvllm:num_requests_running 2\nvllm:kv_cache_usage_perc 0.5\n"
_HEAT = Engine("exporter", scalars=(("Heat", named("celsius")),))
EXPORTER = Scraping(1.0, Access(path="/heat"), Engines({"exporter": _HEAT}, default="exporter"))


class Site:
    """A server with pages that can be changed, and a clock."""

    def __init__(self) -> None:
        self.texts = {"/metrics": ENGINE, "/heat": "celsius 61.5\n"}
        self.asked: Counter[str] = Counter()
        self.now = 100.0
        self.endpoint = Endpoint.at("127.0.0.1", 0)
        self.http: aiohttp.ClientSession

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        text = self.texts.get(request.path)
        return web.Response(text=text) if text is not None else web.Response(status=503)

    def pages(self, *settings: Scraping) -> Pages:
        sources = [(each, Credentials(each.access, self.now)) for each in settings]
        return Pages(self.endpoint, sources, lambda: self.now)


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made, app = Site(), web.Application()
    app.router.add_get("/{page}", made.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.endpoint = Endpoint.at("127.0.0.1", runner.addresses[0][1])
        async with session() as made.http:
            yield made
    finally:
        await runner.cleanup()


async def test_what_two_pages_say_is_one_report() -> None:
    """Load from the engine, a custom metric from an exporter beside it."""
    async with site() as one:
        pages = one.pages(Scraping(), EXPORTER)
        report = await pages.ask(one.http)
        assert (report.waiting, report.running, report.scalars, report.missing) == (
            3,
            2,
            {"Heat": 61.5},
            ("vllm:cache_config_info",),
        )
        assert pages.reader.engine is not None
        assert pages.reader.engine.name == "vllm"


async def test_each_page_is_asked_for_at_its_own_interval() -> None:
    """In between, what it said last stands; the most frequent one is asked for every time."""
    async with site() as one:
        pages = one.pages(Scraping(0.05), EXPORTER)
        for _ in range(19):
            report = await pages.ask(one.http)
            assert report.scalars == {"Heat": 61.5}
            one.now += 0.046
        assert one.asked == {"/metrics": 19, "/heat": 1}
        one.now += 0.2
        await pages.ask(one.http)
        assert one.asked["/heat"] == 2


async def test_a_page_that_cannot_be_had_takes_only_itself_away() -> None:
    """Its numbers are unknown at once, it is counted, and asked for again before its interval is over."""
    async with site() as one:
        pages = one.pages(Scraping(), EXPORTER)
        del one.texts["/heat"]
        report = await pages.ask(one.http)
        assert (report.waiting, report.scalars, pages.failed) == (3, {}, 1)
        one.texts["/heat"] = "celsius 70\n"
        one.now += 0.05
        assert (await pages.ask(one.http)).scalars == {"Heat": 70.0}


async def test_without_a_word_of_load_the_endpoint_has_not_answered() -> None:
    """Whatever else is known of it; the first error is the one that is told."""
    async with site() as one:
        pages = one.pages(Scraping(), EXPORTER)
        del one.texts["/metrics"]
        with pytest.raises(aiohttp.ClientResponseError, match="503"):
            await pages.ask(one.http)
        assert pages.failed == 1
        alone = one.pages(EXPORTER)
        with pytest.raises(ValueError, match="no metrics page has a word of load"):
            await alone.ask(one.http)
        assert alone.failed == 1
