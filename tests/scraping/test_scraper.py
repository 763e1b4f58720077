"""Scraping real servers on loopback: what they say, when they die, restart, come back and leave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType

import aiohttp
import msgspec
import pytest
from aiohttp import web

from igw.columns import Columns
from igw.endpoint import Endpoint, Pool
from igw.facts import Adapters
from igw.prefix.hashing import MAX_BLOCKS, tokens_at
from igw.prefix.index import MIN_CAPACITY_TOKENS, PrefixIndex
from igw.scraping.access import Access, session
from igw.scraping.engines.builtin import ENGINES
from igw.scraping.mapping import named
from igw.scraping.reader import Engines
from igw.scraping.scraper import Scraper, Status
from igw.scraping.settings import Scraping
from igw.work.promises import Promises

_FAST = Scraping(0.001)

PAGE = """\
vllm:num_requests_waiting {waiting}
vllm:num_requests_running 2
vllm:kv_cache_usage_perc 0.5
vllm:prefix_cache_queries_total {queries}
vllm:cache_config_info{{block_size="32",num_gpu_blocks="{blocks}"}} 1
vllm:lora_requests_info{{max_lora="2",running_lora_adapters="poet",waiting_lora_adapters=""}} 1.5
"""


def page(waiting: int = 0, queries: int = 0, blocks: int = 512) -> str:
    """Return what an engine says."""
    return PAGE.format(waiting=waiting, queries=queries, blocks=blocks)


class Engine:
    """A metrics page that can be changed, and how often it was asked for."""

    def __init__(self) -> None:
        self.page = page()
        self.status = 200
        self.asked = 0
        self.asks: asyncio.Queue[int] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.endpoint = Endpoint.at("127.0.0.1", 0)

    async def answer(self, _request: web.Request) -> web.Response:
        """Answer a scrape, as soon as the engine is open."""
        self.asked += 1
        self.asks.put_nowait(self.asked)
        await self.open.wait()
        return web.Response(text=self.page, status=self.status)

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[None]:
        """Serve on loopback."""
        app = web.Application()
        app.router.add_get("/metrics", self.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            self.endpoint = Endpoint.at("127.0.0.1", runner.addresses[0][1])
            yield
        finally:
            self.open.set()
            await runner.cleanup()


class Watched(Columns):
    """Columns that tell when they are written to."""

    def __init__(self, pool: Pool, prefix: PrefixIndex) -> None:
        self.told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        super().__init__(pool, prefix.slot)

    def report(
        self, hostport: str, waiting: float | None, running: float | None, kv_usage: float | None
    ) -> None:
        """Write and tell."""
        super().report(hostport, waiting, running, kv_usage)
        self.told.put_nowait(("report", hostport))

    def fail(self, hostport: str) -> None:
        """Write and tell."""
        super().fail(hostport)
        self.told.put_nowait(("fail", hostport))

    def expire(self, hostport: str) -> None:
        """Write and tell."""
        super().expire(hostport)
        self.told.put_nowait(("expire", hostport))

    async def next(self, what: str, engine: Engine) -> None:
        """Wait until *what* is written of *engine*."""
        async with asyncio.timeout(20):
            while await self.told.get() != (what, engine.endpoint.hostport):
                pass

    async def settled(self, engine: Engine) -> None:
        """Wait for a report that was asked for after now: the first to come may be older."""
        self.told = asyncio.Queue()
        await self.next("report", engine)
        await self.next("report", engine)


class Scraped:
    """A scraper at work on a pool of engines."""

    def __init__(self, *engines: Engine, timeout_seconds: float = 5.0, settings: Scraping = _FAST) -> None:
        pool = Pool("p", "default", tuple(engine.endpoint for engine in engines))
        self.prefix = PrefixIndex()
        self.columns = Watched(pool, self.prefix)
        self.promises = Promises()
        self.promises.adopt(dict(zip(self.columns.slots.tolist(), self.columns.row, strict=True)))
        self.scraper = Scraper(self.columns, self.prefix, settings, self._clock, self.promises)
        self.group = asyncio.TaskGroup()
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_seconds))

    async def __aenter__(self) -> Scraped:
        await self.group.__aenter__()
        self.scraper.follow(self.columns.pool, self.group, self.session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.scraper.stop()
            await self.group.__aexit__(kind, error, trace)  # ends what the scraper has lost when a test fails
        finally:
            await self.session.close()

    def _clock(self) -> float:
        """Stand still, while requests keep coming: nothing here waits for the pace to quicken."""
        self.columns.picks += 1000
        return 0.0

    def matched(self, engine: Engine, blocks: range) -> int:
        """Return how many of *blocks* the engine is believed to hold."""
        return int(self.prefix.match(blocks)[self.prefix.slot(engine.endpoint.hostport)])


async def test_what_an_engine_says_is_in_its_row() -> None:
    """Columns and the size of its prefix cache, in tokens."""
    one, other = Engine(), Engine()
    one.page, other.page = page(waiting=7), page(waiting=1, blocks=2 * MIN_CAPACITY_TOKENS // 32)
    async with one.serving(), other.serving(), Scraped(one, other) as scraped:
        await scraped.columns.settled(one)
        await scraped.columns.settled(other)
        assert scraped.columns.waiting.tolist() == [7, 1]
        assert scraped.columns.running.tolist() == [2, 2]
        assert scraped.columns.kv_usage.tolist() == [0.5, 0.5]
        assert scraped.columns.adapters.tolist() == [Adapters(frozenset({"poet"}), most=2)] * 2
        free = scraped.promises.promised(scraped.columns.slots, 0.0).column("free_tokens")
        assert free.tolist() == pytest.approx([0.48 * 512 * 32, 0.48 * 2 * MIN_CAPACITY_TOKENS])
        scraped.prefix.record(scraped.prefix.slot(other.endpoint.hostport), range(MAX_BLOCKS))
        assert tokens_at(scraped.matched(other, range(MAX_BLOCKS))) == 2 * MIN_CAPACITY_TOKENS
        assert scraped.scraper.statistics().done >= 2
        assert scraped.scraper.statistics().failed == 0


async def test_an_endpoint_that_nobody_listens_at_is_failing_after_three_misses() -> None:
    """Refused connections are misses; the others go on."""
    dead, alive = Engine(), Engine()
    async with dead.serving():
        pass
    async with alive.serving(), Scraped(dead, alive) as scraped:
        await scraped.columns.next("fail", dead)
        assert scraped.columns.failing.tolist() == [True, False]
        assert scraped.scraper.statistics().failed == 3
        await scraped.columns.settled(alive)


@pytest.mark.parametrize(("status", "text"), [(503, ""), (200, "<html>not metrics</html>"), (200, "")])
async def test_a_page_that_cannot_be_used_is_a_miss(status: int, text: str) -> None:
    """Two of them are forgiven, the third is not; told once, however long it lasts."""
    engine = Engine()
    engine.status, engine.page = status, text
    async with engine.serving(), Scraped(engine) as scraped:
        await scraped.columns.next("fail", engine)
        assert scraped.scraper.statistics().failed == 3
        assert scraped.columns.any_failing
        async with asyncio.timeout(20):
            while await engine.asks.get() < 8:
                pass
        assert scraped.columns.told.empty()


async def test_an_engine_that_does_not_answer_is_a_miss() -> None:
    """A hanging server is as good as a dead one."""
    engine = Engine()
    engine.open.clear()
    async with engine.serving(), Scraped(engine, timeout_seconds=0.1) as scraped:
        await scraped.columns.next("fail", engine)
        engine.open.set()
        await scraped.columns.next("report", engine)
        assert not scraped.columns.any_failing


async def test_an_engine_that_hangs_is_unknown_long_before_it_is_given_up() -> None:
    """What it said last is not believed while its answer is overdue; when the answer comes, that is believed."""
    hanging = Engine()
    async with hanging.serving(), Scraped(hanging) as scraped:
        await scraped.columns.settled(hanging)
        hanging.open.clear()
        await scraped.columns.next("expire", hanging)
        assert not scraped.columns.reported.any()
        assert not scraped.columns.any_failing
        hanging.open.set()
        await scraped.columns.settled(hanging)
        assert scraped.columns.reported.all()


async def test_an_endpoint_that_comes_back_starts_with_an_empty_cache() -> None:
    """It was away long enough to have been restarted."""
    engine = Engine()
    async with engine.serving(), Scraped(engine) as scraped:
        await scraped.columns.settled(engine)
        scraped.prefix.record(scraped.prefix.slot(engine.endpoint.hostport), range(10))
        engine.status = 500
        await scraped.columns.next("fail", engine)
        assert scraped.matched(engine, range(10)) == 10
        engine.status = 200
        await scraped.columns.next("report", engine)
        assert not scraped.columns.any_failing
        assert scraped.matched(engine, range(10)) == 0


async def test_a_counter_that_goes_back_tells_of_a_restart() -> None:
    """An engine may be back before a single scrape is missed; its cache is empty all the same."""
    engine, other = Engine(), Engine()
    engine.page = other.page = page(queries=100)
    async with engine.serving(), other.serving(), Scraped(engine, other) as scraped:
        await scraped.columns.settled(engine)
        await scraped.columns.settled(other)
        for each in (engine, other):
            scraped.prefix.record(scraped.prefix.slot(each.endpoint.hostport), range(10))
        engine.page = page(queries=150)
        await scraped.columns.settled(engine)
        assert scraped.matched(engine, range(10)) == 10
        engine.page = page(queries=5)
        await scraped.columns.settled(engine)
        assert scraped.matched(engine, range(10)) == 0
        assert scraped.matched(other, range(10)) == 10


async def test_the_pool_that_is_followed_may_change() -> None:
    """Who left is not asked again, who came is, who stays is not asked twice as often."""
    stays, leaves, comes = Engine(), Engine(), Engine()
    async with stays.serving(), leaves.serving(), comes.serving(), Scraped(stays, leaves) as scraped:
        await scraped.columns.settled(leaves)
        pool = Pool("p", "default", (comes.endpoint, stays.endpoint))
        scraped.columns.adopt(pool)
        scraped.scraper.follow(pool, scraped.group, scraped.session)
        await scraped.columns.settled(comes)
        asked = leaves.asked
        for _ in range(3):
            await scraped.columns.settled(stays)
        assert leaves.asked == asked
        assert scraped.columns.reported.all()


async def test_nobody_is_asked_after_the_stop() -> None:
    """Stopping ends the tasks, so that their group can be left; stopping twice does no harm."""
    engine = Engine()
    async with engine.serving(), Scraped(engine) as scraped:
        await scraped.columns.settled(engine)
        await scraped.scraper.stop()
        done = scraped.scraper.statistics().done
    assert scraped.scraper.statistics().done == done


async def rest(
    monkeypatch: pytest.MonkeyPatch, *engines: Engine, picks: int, interval_seconds: float
) -> float:
    """Return how long a scraper of *engines* rests after a second in which there were *picks*."""
    rests: asyncio.Queue[float] = asyncio.Queue()
    real, now = asyncio.sleep, 0.0

    async def sleep(seconds: float) -> None:
        if seconds:
            rests.put_nowait(seconds)
            await (asyncio.Event() if goes_on.is_set() else goes_on).wait()
        await real(0)

    prefix = PrefixIndex()
    pool = Pool("p", "default", tuple(engine.endpoint for engine in engines))
    columns = Columns(pool, prefix.slot)
    scraper = Scraper(columns, prefix, Scraping(interval_seconds), lambda: now)
    goes_on = asyncio.Event()
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group, asyncio.timeout(20):
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", sleep)
            patch.setattr("igw.scraping.scraper.random.uniform", lambda _low, _high: 1.0)
            scraper.follow(pool, group, http)
            for _ in engines:
                await rests.get()
            now, columns.picks = 1.0, columns.picks + picks
            goes_on.set()
            seconds = {await rests.get() for _ in engines}
            await scraper.stop()
    assert len(seconds) == 1
    return seconds.pop()


@pytest.mark.parametrize(
    ("picks", "status", "seconds"),
    [
        pytest.param(100_000, 200, 0.05, id="more requests than scrapes can keep up with"),
        pytest.param(8, 200, 0.25, id="a scrape for every two picks"),
        pytest.param(1, 200, 1.0, id="hardly a request"),
        pytest.param(0, 200, 1.0, id="quiet"),
        pytest.param(0, 500, 0.05, id="in doubt"),
    ],
)
async def test_the_pace_follows_the_need(
    picks: int, status: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asked for while many requests are picked or an endpoint is in doubt, at leisure when nothing happens."""
    engine = Engine()
    engine.status = status
    async with engine.serving():
        rested = await rest(monkeypatch, engine, picks=picks, interval_seconds=0.05)
    assert rested == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("picks", "seconds_per_engine"),
    [
        pytest.param(20, 0.1, id="by need"),
        pytest.param(1_000_000, 0.01, id="by budget"),
    ],
)
async def test_scraping_a_larger_pool_costs_no_more(
    picks: int, seconds_per_engine: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrapes per pick, and per second, are bounded in all: twice the endpoints, half the pace of each."""
    engines = [Engine() for _ in range(8)]
    async with contextlib.AsyncExitStack() as stack:
        for engine in engines:
            await stack.enter_async_context(engine.serving())
        for size in (1, 4, 8):
            rested = await rest(monkeypatch, *engines[:size], picks=picks, interval_seconds=0.001)
            assert rested == pytest.approx(size * seconds_per_engine)


async def test_pauses_vary_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a tenth at most, so that pickers do not ask in step."""
    shares: asyncio.Queue[tuple[float, float]] = asyncio.Queue()

    def uniform(low: float, high: float) -> float:
        shares.put_nowait((low, high))
        return high

    monkeypatch.setattr("igw.scraping.scraper.random.uniform", uniform)
    engine = Engine()
    async with engine.serving(), Scraped(engine), asyncio.timeout(20):
        assert await shares.get() == pytest.approx((0.9, 1.1))


async def test_what_is_known_of_endpoints_can_be_looked_at() -> None:
    """Engine, what said so, accelerator by a label, what its page lacks; nothing yet of one that did not answer."""
    engine, silent = Engine(), Engine()
    engine.page = page().replace("vllm:kv_cache_usage_perc", "something_else")
    silent.open.clear()
    async with engine.serving(), silent.serving():
        engine.endpoint = Endpoint.at(
            "127.0.0.1", engine.endpoint.port, labels={"nvidia.com/gpu.product": "NVIDIA-L4"}
        )
        async with Scraped(engine, silent) as scraped:
            await scraped.columns.settled(engine)
            known, unknown = scraped.scraper.statuses()
            assert (known.engine, known.chosen_by, known.accelerator) == ("vllm", "page", "NVIDIA-L4")
            assert known.age_seconds == 0.0
            assert known.report is not None
            assert known.report.missing == ("vllm:kv_cache_usage_perc",)
            assert unknown == Status(silent.endpoint.hostport)
            assert scraped.columns.running.tolist() == [2, 2]


async def test_an_engine_that_does_not_tell_one_thing_holds_the_mean_of_the_others_there() -> None:
    """Not known is not idle: TGI says nothing of its KV memory."""
    engine, other = Engine(), Engine()
    engine.page = "tgi_queue_size 4\ntgi_batch_current_size 1\n"
    async with engine.serving(), other.serving(), Scraped(engine, other) as scraped:
        await scraped.columns.settled(engine)
        await scraped.columns.settled(other)
        assert scraped.columns.waiting.tolist() == [4, 0]
        assert scraped.columns.kv_usage.tolist() == [0.5, 0.5]


async def test_other_settings_take_effect_while_it_runs() -> None:
    """Custom metrics of a configuration are there after the next page; what follows from requests is kept."""
    engine = Engine()
    engine.page = page() + "depth 2.5\n"
    own = msgspec.structs.replace(ENGINES["vllm"], scalars=(("Depth", named("depth")),))
    async with engine.serving(), Scraped(engine) as scraped:
        await scraped.columns.settled(engine)
        assert not scraped.columns.scalars
        scraped.scraper.use(Scraping(0.001, engines=Engines({**ENGINES, "vllm": own})))
        scraped.scraper.follow(scraped.columns.pool, scraped.group, scraped.session)
        await scraped.columns.settled(engine)
        assert scraped.columns.scalars["Depth"].tolist() == [2.5]


async def test_an_endpoint_whose_labels_change_is_looked_at_anew() -> None:
    """They may say which engine it is."""
    engine = Engine()
    async with engine.serving(), Scraped(engine) as scraped:
        await scraped.columns.settled(engine)
        labelled = msgspec.structs.replace(engine.endpoint, labels={"llm-d.ai/engine-type": "vllm"})
        pool = Pool("p", "default", (labelled,))
        scraped.columns.adopt(pool)
        scraped.scraper.follow(pool, scraped.group, scraped.session)
        await scraped.columns.settled(engine)
        assert [status.chosen_by for status in scraped.scraper.statuses()] == ["label"]


async def test_a_page_without_end_is_a_miss() -> None:
    """Memory is bounded, whatever a server sends."""
    engine = Engine()
    engine.page = "x" * (9 << 20)
    async with engine.serving(), Scraped(engine) as scraped:
        await scraped.columns.next("fail", engine)
        assert scraped.scraper.statistics().done == 0


async def test_pages_are_asked_for_elsewhere_uncompressed_and_over_one_connection() -> None:
    """Path and port as configured; a connection is kept."""
    seen: list[tuple[str, str | None, object]] = []
    enough = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        seen.append(
            (
                request.path,
                request.headers.get("accept-encoding"),
                request.transport.get_extra_info("peername"),
            )
        )
        if len(seen) == 4:
            enough.set()
        return web.Response(text=page())

    app = web.Application()
    app.router.add_get("/prometheus/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    engine = Engine()
    engine.endpoint = Endpoint.at("127.0.0.1", 1)
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        access = Access(path="/prometheus/metrics", port=runner.addresses[0][1])
        scraped = Scraped(engine, settings=Scraping(0.001, access))
        await scraped.session.close()
        scraped.session = session()
        async with scraped, asyncio.timeout(20):
            await enough.wait()
    finally:
        await runner.cleanup()
    assert len({(path, encoding) for path, encoding, _ in seen}) == 1
    assert seen[0][:2] == ("/prometheus/metrics", "identity")
    assert len({peer for _, _, peer in seen}) == 1
