"""Asks the remote caches of the configuration: connections, Patience, and what is counted. Their wire forms are beside this."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily, Metric

from igw.errors import ConfigError
from igw.patience import PAUSE_SECONDS, Patience
from igw.prefix.api import Offer, Question, RemoteCache
from igw.remotecaches.http import AnswerError, Client
from igw.remotecaches.lmcache import LMCacheController
from igw.remotecaches.mooncake import Conductor, Settings
from igw.remotecaches.redis_index import RedisIndex, connected
from igw.remotecaches.simulated import SimulatedTier
from igw.remotecaches.upstream_keys import Hashing
from igw.scheduling.producers.remote_cache import RemoteCacheProducer

log = structlog.get_logger("remotecaches")

_OUTCOMES = ("hit", "miss", "failed", "late", "skipped")


class Asked:
    """One cache that is asked with patience, and how that went."""

    def __init__(self, name: str, cache: RemoteCache, clock: Callable[[], float]) -> None:
        self.asked: Counter[str] = Counter()
        """How questions ended."""
        self.cache = cache
        self._patience = Patience(
            clock,
            lambda why: log.warning("remote_cache_paused", plugin=name, error=why, seconds=PAUSE_SECONDS),
        )

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return what the cache says; nothing where it is not to be asked or fails."""
        if not self._patience.may_ask:
            self.asked["skipped"] += 1
            return ()
        try:
            with self._patience.asking():
                offers = await self.cache.offers(question)
        except asyncio.CancelledError:
            self.asked["late"] += 1
            raise
        except (aiohttp.ClientError, TimeoutError, AnswerError, msgspec.MsgspecError):
            self.asked["failed"] += 1
            return ()
        self.asked["hit" if offers else "miss"] += 1
        return offers


class RemoteCaches:
    """Gives every remote cache producer of the configuration what it asks. Owner of their connections."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._asked: dict[str, tuple[RemoteCacheProducer, Asked]] = {}

    async def follow(self, plugins: Mapping[str, Any]) -> None:
        """Let exactly the producers among *plugins* ask. A cache that cannot be used is logged: a picker without it routes as before."""
        for name, (producer, asked) in list(self._asked.items()):
            if plugins.get(name) is not producer:
                del self._asked[name]
                await _closed(asked.cache)
        for name, plugin in plugins.items():
            if isinstance(plugin, RemoteCacheProducer) and name not in self._asked:
                try:
                    opened = Asked(name, self._opened(plugin), self._clock)
                except ConfigError as error:
                    log.error(  # noqa: TRY400
                        "remote_cache_unusable", where=error.where, problem=error.problem, hint=error.hint
                    )
                    continue
                self._asked[name] = plugin, opened
                plugin.cache = opened

    async def close(self) -> None:
        """Close the connections."""
        for _, asked in self._asked.values():
            await _closed(asked.cache)
        self._asked.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def collect(self) -> Iterable[Metric]:
        """Yield how often caches were asked, and what came of it."""
        asked = CounterMetricFamily(
            "igw_remote_cache_questions",
            "Questions to remote caches: those that something could be loaded from, those with nothing, failed, late, and not asked because it"
            " had failed before.",
            labels=("plugin_name", "outcome"),
        )  # fmt: skip
        for name, (_, cache) in self._asked.items():
            for outcome in _OUTCOMES:
                asked.add_metric((name, outcome), cache.asked[outcome])
        yield asked

    def _opened(self, producer: RemoteCacheProducer) -> RemoteCache:
        costs = producer.costs
        if (redis := producer.redis) is not None:
            hashing = Hashing(redis.block_size_tokens, redis.hash_seed, redis.hash_algorithm)
            return RedisIndex(connected(redis.address), hashing, costs)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        client = Client(self._session)
        if (lmcache := producer.lmcache) is not None:
            return LMCacheController(client, lmcache.url, costs, self._clock, peers=lmcache.peers)
        if (mooncake := producer.mooncake) is not None:
            settings = Settings(
                mooncake.url,
                mooncake.encoding,
                mooncake.tenant_id,
                mooncake.model,
                mooncake.block_size_tokens,
            )
            return Conductor(client, settings, costs)
        return SimulatedTier(client, costs)


async def _closed(cache: RemoteCache) -> None:
    close = getattr(cache, "close", None)
    if close is not None:
        await close()
