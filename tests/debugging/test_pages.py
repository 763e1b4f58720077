"""What a process tells of itself over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from aiohttp import ClientSession, web

from igw.debugging.pages import LOG_LEVEL, PROFILE, TASKS, Pages
from igw.telemetry import log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the configuration of this process as it was."""
    yield
    structlog.reset_defaults()


@pytest.fixture
async def ask() -> AsyncIterator[ClientSession]:
    """Serve the pages and give who asks."""
    app = web.Application()
    app.router.add_routes(Pages().routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def test_a_profile_is_made_while_the_process_goes_on(ask: ClientSession) -> None:
    """In either form; the loop is not held up."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    counting = asyncio.create_task(count())
    async with ask.get(PROFILE, params={"seconds": "0.3", "hz": "200"}) as answer:
        assert answer.status == 200
        assert "MainThread;" in await answer.text()
    counting.cancel()
    assert turns > 5
    async with ask.get(PROFILE, params={"seconds": "0.1", "format": "speedscope"}) as answer:
        assert "igw.speedscope.json" in answer.headers["content-disposition"]
        assert (await answer.json())["profiles"]


async def test_one_profile_is_made_at_a_time(ask: ClientSession) -> None:
    """Somebody else's would be in it."""
    assert sorted(await asyncio.gather(*[_status(ask, "0.5") for _ in range(3)])) == [200, 409, 409]
    assert await _status(ask, "0.01") == 200


async def _status(ask: ClientSession, seconds: str) -> int:
    async with ask.get(PROFILE, params={"seconds": seconds}) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"seconds": "61"}, "at most 60"),
        ({"seconds": "-1"}, "not a number above 0"),
        ({"seconds": "nan"}, "not a number above 0"),
        ({"hz": "many"}, "at most 1000"),
        ({"format": "pprof"}, "neither `collapsed` nor `speedscope`"),
    ],
)
async def test_a_profile_that_cannot_be_made_is_refused(
    ask: ClientSession, query: dict[str, str], words: str
) -> None:
    """With what would be right."""
    async with ask.get(PROFILE, params=query) as answer:
        assert answer.status == 400
        assert words in (await answer.json())["error"]


async def test_tasks_are_told_by_where_they_wait(ask: ClientSession) -> None:
    """Those of one kind together."""
    release = asyncio.Event()

    async def waits() -> None:
        await release.wait()

    tasks = [asyncio.create_task(waits()) for _ in range(7)]
    async with ask.get(TASKS) as answer:
        told = await answer.json()
    release.set()
    await asyncio.gather(*tasks)
    (kind,) = [each for each in told["kinds"] if each["coroutine"].endswith("waits")]
    assert kind["count"] == 7
    assert "asyncio/locks.py:" in kind["waits_at"]
    assert told["tasks"] >= 8


async def test_the_log_level_changes_while_the_process_runs(
    ask: ClientSession, capsys: pytest.CaptureFixture[str]
) -> None:
    """For loggers that are in use already, too."""
    log.configure()
    logger = structlog.get_logger("x")
    logger.info("before")
    logger.debug("unseen")
    async with ask.put(LOG_LEVEL, data="DEBUG\n") as answer:
        assert await answer.json() == {"level": "debug"}
    logger.debug("seen")
    async with ask.put(LOG_LEVEL, data="error") as answer:
        assert answer.status == 200
    logger.warning("unseen")
    async with ask.get(LOG_LEVEL) as answer:
        assert await answer.json() == {"level": "error"}
    async with ask.put(LOG_LEVEL, data="warn") as answer:
        assert answer.status == 400
        assert "did you mean warning?" in (await answer.json())["error"]
    err = capsys.readouterr().err
    assert "seen" in err.replace("unseen", "")
    assert "unseen" not in err
