"""`remote-cache-producer`: what is asked of a cache, and what its answer becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.facts import FETCHES, TOKENS
from igw.prefix.api import Cost, Offer, Question
from igw.prefix.chain import Prompt, packed
from igw.scheduling.producers.remote_cache import RemoteCacheProducer, Simulated
from tests.scheduling.candidates import facts, plugin, request

PROMPT = Prompt(packed(range(500)))


class Cache:
    """A cache that offers what it is told, and remembers what it was asked."""

    def __init__(self, *offers: Offer) -> None:
        self.answer = offers
        self.asked: list[Question] = []

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Answer."""
        self.asked.append(question)
        return self.answer


async def test_a_cache_is_asked_with_the_tokens_that_somebody_found() -> None:
    """Its answer is a column, in tokens of four bytes."""
    producer = RemoteCacheProducer(simulator=Simulated())
    producer.cache = cache = Cache(Offer(250, "remote", Cost(0.005, 1e-5)))
    known = facts(2).knowing("token-producer", {TOKENS: PROMPT})
    found = await producer.produce(request(tokens=1000, model="m"), known)
    ((tokens, latency, per_token, _, _),) = found[FETCHES]
    assert tokens.tolist() == [500.0, 500.0]
    assert latency + per_token * 500 == pytest.approx(0.005 + 250 * 1e-5)
    (question,) = cache.asked
    assert (question.model, question.prompt, question.endpoints) == ("m", PROMPT, known.endpoints)


async def test_a_prompt_without_tokens_is_not_asked_about() -> None:
    """Nor anything before there are connections."""
    producer = RemoteCacheProducer(simulator=Simulated())
    assert await producer.produce(request(tokens=9), facts(1)) == {}
    producer.cache = cache = Cache()
    assert await producer.produce(request(tokens=9), facts(1)) == {}
    assert not cache.asked


def test_costs_are_size_through_bandwidth_and_latency() -> None:
    """By tier."""
    producer = plugin(
        RemoteCacheProducer,
        lmcache={"url": "http://controller:9000"},
        bytesPerToken=50_000,
        disk={"bytesPerSecond": 1e9, "latency": "10ms"},
        deadline="50ms",
    )
    assert producer.costs["disk"] == Cost(0.01, 5e-5)
    assert producer.costs["cpu"] == Cost(0.001, 1e-6)
    assert producer.deadline_seconds == 0.05


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"simulator": {}, "redis": {}},
        {"mooncake": {"url": "conductor:13333"}},
        {"lmcache": {"uri": "http://x"}},
    ],
)
def test_what_cannot_be_used_is_said(parameters: dict[str, Any]) -> None:
    """Exactly one cache, at an address."""
    with pytest.raises(ConfigError):
        plugin(RemoteCacheProducer, **parameters)
