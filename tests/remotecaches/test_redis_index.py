"""An index in Redis as upstream's router writes it, at a server that speaks the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from igw.errors import ConfigError
from igw.prefix.api import FREE, Offer
from igw.prefix.chain import Prompt, packed
from igw.remotecaches.http import AnswerError
from igw.remotecaches.redis_index import RedisIndex, connected
from igw.remotecaches.upstream_keys import Hashing
from tests.remotecaches.http import COSTS, TOKENS, question
from tests.remotecaches.resp import RespServer, resp_server

HASHING = Hashing(16, "", "xxh64")
KEYS = list(HASHING.keys(Prompt(packed(TOKENS)), "m"))
HERE, THERE = "10.0.0.1:8000", "10.0.0.2:8000"


def holder(where: str, tier: str = "gpu", *, speculative: bool = False) -> str:
    """Return a field as Go writes a `PodEntry`."""
    return json.dumps(
        {
            "PodIdentifier": where,
            "DeviceTier": tier,
            "Speculative": speculative,
            "HasGroup": False,
            "GroupIdx": 0,
        },
        separators=(",", ":"),
    )


@asynccontextmanager
async def index(hashing: Hashing = HASHING) -> AsyncIterator[tuple[RespServer, RedisIndex]]:
    """Yield a server and an index that reads it."""
    async with resp_server() as server:
        found = RedisIndex(connected(f"127.0.0.1:{server.port}"), hashing, COSTS)
        try:
            yield server, found
        finally:
            await found.close()


async def test_an_endpoint_holds_blocks_until_its_first_gap() -> None:
    """What it has behind that is of no use; nor is what endpoints of other pools have."""
    async with index() as (server, shared):
        for number, key in enumerate(KEYS):
            server.add(key, holder("10.9.9.9:8000"))
            if number != 7:
                server.add(key, holder(HERE))
            if number < 20:
                server.add(key, holder(THERE, "", speculative=True))
        assert sorted(await shared.offers(question()), key=lambda offer: offer.tokens) == [
            Offer(7 * 16, "gpu", FREE, to=HERE),
            Offer(20 * 16, "gpu", FREE, to=THERE),
        ]


async def test_tiers_follow_each_other() -> None:
    """A block in several counts as the best one; fields of others are passed over."""
    async with index() as (server, shared):
        for key in KEYS[:4]:
            server.add(key, holder(HERE, "cpu"), holder(HERE, "gpu"))
        for key in KEYS[4:6]:
            server.add(key, holder(HERE, "cpu"), "not ours", '{"a": 1}')
        assert list(await shared.offers(question())) == [
            Offer(64, "gpu", FREE, to=HERE),
            Offer(96, "cpu", COSTS["cpu"], to=HERE),
        ]


async def test_no_more_is_asked_than_somebody_holds() -> None:
    """64 blocks at a time, then twice as many."""
    tokens = list(range(16 * 300))
    keys = list(HASHING.keys(Prompt(packed(tokens)), "m"))
    async with index() as (server, shared):
        for key in keys[:70]:
            server.add(key, holder(HERE))
        assert [offer.tokens for offer in await shared.offers(question(tokens=tokens))] == [70 * 16]
        assert sum(words[0] == b"HKEYS" for words in server.commands) == 64 + 128
        server.commands.clear()
        assert not await shared.offers(question("another", tokens=tokens))
        assert sum(words[0] == b"HKEYS" for words in server.commands) == 64


async def test_a_question_that_is_given_up_does_not_spoil_the_next() -> None:
    """Its answer comes when nobody waits for it any more."""
    async with index() as (server, shared):
        server.add(KEYS[0], holder(HERE))
        server.answers.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await shared.offers(question())
        server.answers.set()
        assert [offer.tokens for offer in await shared.offers(question(tokens=TOKENS[:40]))] == [16]


async def test_errors_of_the_server_and_a_server_that_is_gone_are_no_answer() -> None:
    """One kind of error for whoever asks."""
    async with index() as (server, shared):
        server.fails = True
        with pytest.raises(AnswerError, match="WRONGTYPE"):
            await shared.offers(question())
    gone = RedisIndex(connected(f"redis://127.0.0.1:{server.port}"), HASHING, COSTS)
    with pytest.raises(AnswerError):
        await gone.offers(question())
    await gone.close()


async def test_a_prompt_without_tokens_is_not_asked_about() -> None:
    """There is nothing to hash."""
    async with index() as (server, shared):
        assert not await shared.offers(question(tokens=None))
        assert not server.commands


async def test_addresses_are_written_in_several_ways() -> None:
    """Valkey's scheme is Redis' own."""
    for address in (
        "valkey://127.0.0.1:6379",
        "redis://127.0.0.1:6379/2",
        "127.0.0.1:6379",
        "unix:///run/r.sock",
    ):
        await connected(address).aclose()
    with pytest.raises(ConfigError, match=r"redis\.address: 'http://x' is no address"):
        connected("http://x")
