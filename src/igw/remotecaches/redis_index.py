"""A prefix index that pickers share in Redis or Valkey, in the form of upstream's `redisConfig`: who holds which block, in which tier.

llm-d-router `pkg/kvcache/kvblock/redis.go`, August 2026: under a block's key in decimal digits stands a hash; each of its fields is a holder as
JSON (`PodIdentifier`, which is `ip:port`, `DeviceTier`, `Speculative`), the values are empty. Those who listen to engines write it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from igw.errors import ConfigError
from igw.prefix.api import FREE, Costs, Offer, Question
from igw.prefix.events import TIERS, tier_of
from igw.remotecaches.http import AnswerError
from igw.remotecaches.upstream_keys import Hashing

if TYPE_CHECKING:
    from redis.asyncio import Redis

_AT_ONCE = 64
"""Blocks asked about in one round trip; then the next, twice as many, if somebody still holds them all."""
_HASHED_AT_ONCE = 32
"""Keys computed before others get a turn: `cbor-fnv` takes some 20 us for each."""
_MOST_BLOCKS = 4096


class _Holder(msgspec.Struct, rename="pascal"):
    pod_identifier: str
    device_tier: str = ""
    speculative: bool = False


_holder = msgspec.json.Decoder(_Holder).decode


def connected(address: str) -> Redis:
    """Return a client of the server at *address*; it connects when it is used.

    Raises:
        ConfigError: the extra `redis` is not installed, or this is no address.
    """
    where = "remote-cache-producer: redis.address"
    try:
        from redis.asyncio import from_url
    except ModuleNotFoundError as error:
        raise ConfigError(
            where, "the client of Redis is not installed", "pip install 'igw[redis]'"
        ) from error
    url = address if "://" in address else f"redis://{address}"
    for theirs, ours in (("valkey://", "redis://"), ("valkeys://", "rediss://")):
        if url.startswith(theirs):
            url = ours + url.removeprefix(theirs)
    try:
        # Two protocols exist; the older one is understood by every server.
        client: Redis = from_url(url, protocol=2, decode_responses=False)
    except ValueError as error:
        raise ConfigError(where, f"{address!r} is no address: {error}", "redis://127.0.0.1:6379") from error
    return client


class RedisIndex:
    """Reads one index."""

    def __init__(self, client: Redis, hashing: Hashing, costs: Costs) -> None:
        self._client = client
        self._hashing = hashing
        self._costs = costs

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return what each endpoint has, tier after tier: as long as it holds every block, wherever it does."""
        if question.prompt is None:
            return ()
        held = _Held(endpoint.hostport for endpoint in question.endpoints)
        keys = itertools.islice(self._hashing.keys(question.prompt, question.model), _MOST_BLOCKS)
        many = _AT_ONCE
        while held.going and (part := await _some(keys, many)):
            for fields in await self._ask(part):
                if not held.on(fields):
                    break
            many *= 2
        return held.offers(self._hashing.block_tokens, self._costs)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, keys: Sequence[int]) -> list[list[bytes]]:
        from redis.exceptions import RedisError

        try:
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hkeys(str(key))
            answers: list[Any] = await pipeline.execute()
        except RedisError as error:
            raise AnswerError(str(error) or repr(error)) from error
        return answers


class _Held:
    """How far each endpoint gets with a prompt, and by which tiers. Those that hold all blocks so far are `going`."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self.going = set(endpoints)
        self._runs: dict[str, list[tuple[str, int]]] = {each: [] for each in self.going}

    def on(self, fields: Iterable[bytes]) -> bool:
        """Go on with the holders of the next block; return whether anybody is left."""
        tiers: dict[str, str] = {}
        for field in fields:
            try:
                holder = _holder(field)
            except msgspec.DecodeError:
                continue  # somebody else's
            where = holder.pod_identifier
            if where in self.going and tiers.get(where) != "gpu":
                tiers[where] = TIERS[tier_of(holder.device_tier)]
        self.going &= tiers.keys()
        for where in self.going:
            runs = self._runs[where]
            if runs and runs[-1][0] == tiers[where]:
                runs[-1] = (tiers[where], runs[-1][1] + 1)
            else:
                runs.append((tiers[where], 1))
        return bool(self.going)

    def offers(self, block_tokens: int, costs: Costs) -> list[Offer]:
        """Return for each endpoint and run of blocks in one tier, how far it gets with it."""
        found = []
        for where, runs in self._runs.items():
            blocks = 0
            for tier, count in runs:
                blocks += count
                cost = costs.get(tier, FREE)
                found.append(Offer(blocks * block_tokens, tier, cost, to=where))
        return found


async def _some(keys: Any, count: int) -> list[int]:
    """Return the next *count* of *keys*, computed a few at a time: nobody else has to wait for all."""
    found: list[int] = []
    while len(found) < count:
        more = list(itertools.islice(keys, min(_HASHED_AT_ONCE, count - len(found))))
        found += more
        if len(more) < _HASHED_AT_ONCE:
            break
        await asyncio.sleep(0)
    return found
