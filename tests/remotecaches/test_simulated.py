"""The tier that simulated servers share, through its HTTP: a picker's producer asks it, and servers load from it."""

from __future__ import annotations

import aiohttp
import msgspec

from igw.endpoint import Endpoint
from igw.facts import FETCHES, TOKENS
from igw.prefix.chain import Prompt, packed
from igw.remotecaches.asking import RemoteCaches
from igw.scheduling.producers.remote_cache import RemoteCacheProducer, Simulated
from igw.simulator.fleet import running
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec
from tests.scheduling.candidates import facts, request

TOKENS_ASKED = list(range(1000, 1330))


def simulator(**spec: object) -> Simulator:
    """Return two fast servers that share a GiB."""
    fields = {"model": "m", "replicas": 2, "speed": 100.0, "sharedCacheSize": 1.0} | spec
    return Simulator(metadata=Metadata(name="sim"), spec=msgspec.convert(fields, SimulatorSpec))


async def complete(client: aiohttp.ClientSession, endpoint: Endpoint) -> int:
    """Ask *endpoint* for a completion; return how much of the prompt was cached."""
    body = {"model": "m", "prompt": TOKENS_ASKED, "max_tokens": 2}
    async with client.post(f"http://{endpoint.hostport}/v1/completions", json=body) as response:
        usage = (await response.json())["usage"]
    return int((usage["prompt_tokens_details"] or {}).get("cached_tokens", 0))


async def test_what_one_server_computed_the_picker_knows_and_the_other_loads() -> None:
    """As many tokens as the producer said."""
    producer = RemoteCacheProducer(simulator=Simulated())
    caches = RemoteCaches(lambda: 0.0)
    async with running([simulator()]) as simulated, aiohttp.ClientSession() as client:
        endpoints = tuple(Endpoint.at(each.address, int(each.port)) for each in simulated)
        await caches.follow({"shared": producer})
        known = facts(endpoints).knowing("t", {TOKENS: Prompt(packed(TOKENS_ASKED))})
        asked = request(tokens=len(TOKENS_ASKED), model="m")
        assert await producer.produce(asked, known) == {FETCHES: ()}
        assert await complete(client, endpoints[0]) == 0
        ((tokens, *_),) = (await producer.produce(asked, known))[FETCHES]
        assert tokens.tolist() == [320.0, 320.0]
        assert await complete(client, endpoints[1]) == 320
        await caches.close()


async def test_servers_without_a_shared_tier_do_not_serve_the_route() -> None:
    """The producer counts a failure, and says nothing."""
    producer = RemoteCacheProducer(simulator=Simulated())
    async with running([simulator(sharedCacheSize=0.0, replicas=1)]) as simulated:
        endpoints = tuple(Endpoint.at(each.address, int(each.port)) for each in simulated)
        caches = RemoteCaches(lambda: 0.0)
        await caches.follow({"shared": producer})
        known = facts(endpoints).knowing("t", {TOKENS: Prompt(packed(TOKENS_ASKED))})
        assert await producer.produce(request(tokens=330, model="m"), known) == {FETCHES: ()}
        (family,) = caches.collect()
        assert {each.labels["outcome"]: each.value for each in family.samples}["failed"] == 1
        await caches.close()
