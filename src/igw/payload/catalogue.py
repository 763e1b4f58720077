"""Which models the servers behind one address serve, asked of the servers themselves and kept for a few seconds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Self

import aiohttp
import msgspec
import structlog

from igw.endpoint import Endpoint, Pool
from igw.payload.models import merged, models

log = structlog.get_logger("body-router")

_KEPT_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
"""A server that has not answered by then is left out."""
_MOST_ENDPOINTS = 64
"""Of a larger pool so many are asked, drawn anew each time."""
_AT_A_TIME = 16

Entries = dict[str, bytes]
"""Model -> what its server says of it, as JSON."""


class _Asked(msgspec.Struct, frozen=True):
    """A pool's servers as they were when they were asked, when that was, and what they say."""

    pool: Pool
    since: float
    models: asyncio.Task[Entries]


class Catalogue:
    """The models of pools. Servers are asked when somebody asks us, once for all who ask meanwhile; not otherwise."""

    def __init__(self, session: aiohttp.ClientSession, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self._asking = asyncio.Semaphore(_AT_A_TIME)
        self._asked: dict[str, _Asked] = {}

    async def listed(self, pools: Sequence[Pool]) -> Entries:
        """Return the models of *pools* in their order; a server that does not answer is left out."""
        begun = [self._of_pool(pool) for pool in pools]
        # Shielded: a client that leaves must not end what others wait for.
        return merged([await asyncio.shield(task) for task in begun])

    def _of_pool(self, pool: Pool) -> asyncio.Task[Entries]:
        now = self._clock()
        self._asked = {key: each for key, each in self._asked.items() if now - each.since < _KEPT_SECONDS}
        asked = self._asked.get(pool.key)
        if asked is None or asked.pool is not pool:
            asked = self._asked[pool.key] = _Asked(pool, now, asyncio.create_task(self._ask(pool)))
        return asked.models

    async def _ask(self, pool: Pool) -> Entries:
        endpoints = list(pool.endpoints)
        if len(endpoints) > _MOST_ENDPOINTS:
            endpoints = random.sample(endpoints, _MOST_ENDPOINTS)
        asked = [asyncio.create_task(self._of_endpoint(endpoint)) for endpoint in endpoints]
        if not asked:
            return {}
        try:
            await asyncio.wait(asked, timeout=_ANSWER_SECONDS)
            return merged([each.result() for each in asked if each.done()])
        finally:
            for each in asked:
                each.cancel()

    async def _of_endpoint(self, endpoint: Endpoint) -> Entries:
        url = f"http://{endpoint.hostport}/v1/models"
        try:
            async with self._asking, self._session.get(url, raise_for_status=True) as answer:
                return models(await answer.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError) as error:
            log.info("models_not_listed", endpoint=endpoint.hostport, error=str(error) or repr(error))
            return {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._asked.values():
            each.models.cancel()
        await asyncio.gather(*(each.models for each in self._asked.values()), return_exceptions=True)
