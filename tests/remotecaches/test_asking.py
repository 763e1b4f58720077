"""Who asks which cache, how long it is asked while it fails, and what is counted."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from igw.prefix.api import FREE, Offer, Question
from igw.remotecaches.asking import Asked, RemoteCaches
from igw.remotecaches.http import AnswerError
from igw.scheduling.producers.remote_cache import LMCache, Mooncake, Redis, RemoteCacheProducer, Simulated
from tests.remotecaches.http import question


class Cache:
    """Does what it is told to do next."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False
        self.found: tuple[Offer, ...] = ()
        self.asked = 0

    async def offers(self, _question: Question, /) -> Sequence[Offer]:
        """Answer, fail or hang."""
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.found


async def test_questions_are_counted_by_how_they_end() -> None:
    """Something, nothing, an error, too late."""
    cache = Cache()
    patient = Asked("c", cache, lambda: 0.0)
    await patient.offers(question())
    cache.found = (Offer(1, "remote", FREE),)
    assert await patient.offers(question()) == cache.found
    cache.error = AnswerError("no")
    assert not await patient.offers(question())
    cache.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await patient.offers(question())
    assert patient.asked == {"miss": 1, "hit": 1, "failed": 1, "late": 1}


async def test_a_cache_that_fails_five_times_in_a_row_is_left_alone_for_five_seconds() -> None:
    """And told of once."""
    now = 0.0
    cache = Cache()
    patient = Asked("c", cache, lambda: now)
    cache.error = AnswerError("http://c/lookup answered 500")
    with capture_logs() as logs:
        for _ in range(8):
            assert not await patient.offers(question())
    assert cache.asked == 5
    assert [(log["event"], log["error"]) for log in logs] == [
        ("remote_cache_paused", "http://c/lookup answered 500")
    ]
    now, cache.error = 5.0, None
    await patient.offers(question())
    assert patient.asked == {"failed": 5, "skipped": 3, "miss": 1}


async def test_every_producer_gets_what_it_asks_and_loses_it_with_the_configuration() -> None:
    """Those that stay keep theirs."""
    caches = RemoteCaches(lambda: 0.0)
    producers = {
        "lmcache": RemoteCacheProducer(lmcache=LMCache()),
        "mooncake": RemoteCacheProducer(mooncake=Mooncake()),
        "redis": RemoteCacheProducer(redis=Redis()),
        "simulator": RemoteCacheProducer(simulator=Simulated()),
    }
    await caches.follow(producers)
    asked = {name: producer.cache for name, producer in producers.items()}
    assert all(isinstance(each, Asked) for each in asked.values())
    del producers["redis"]
    await caches.follow(producers)
    assert all(producers[name].cache is asked[name] for name in producers)
    (family,) = caches.collect()
    assert {sample.labels["plugin_name"] for sample in family.samples} == set(producers)
    assert {sample.labels["outcome"] for sample in family.samples} == {
        "hit",
        "miss",
        "failed",
        "late",
        "skipped",
    }
    await caches.close()
    assert not next(iter(caches.collect())).samples


async def test_without_its_client_a_redis_index_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The picker goes on without it."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    caches, producer = RemoteCaches(lambda: 0.0), RemoteCacheProducer(redis=Redis())
    with capture_logs() as logs:
        await caches.follow({"redis": producer})
    (log,) = logs
    assert (log["event"], log["hint"]) == ("remote_cache_unusable", "pip install 'igw[redis]'")
    assert producer.cache is None
    await caches.close()
