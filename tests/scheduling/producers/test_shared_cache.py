"""`shared-cache-producer`: what is believed to be in a tier that all endpoints share."""

from __future__ import annotations

import msgspec
import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.facts import FETCHES
from igw.outcomes.outcome import End, Outcome
from igw.prefix.hashing import block_hashes
from igw.scheduling.producers.shared_cache import SharedCacheProducer
from tests.scheduling.candidates import facts, plugin, request

BLOCKS = block_hashes(b"", [memoryview(b"x" * 4096)])
HERE = Endpoint.at("10.0.0.1", 8000)


def ended(producer: SharedCacheProducer, status: int) -> None:
    """Tell of the end of a request for `BLOCKS`."""
    producer.ended(Decision(1, request(tokens=1024), (HERE,), BLOCKS), Outcome(End.COMPLETE, status))


def test_what_was_answered_can_be_fetched_by_all() -> None:
    """At the cost that bandwidth and latency say."""
    producer = plugin(
        SharedCacheProducer, bytesPerToken=100_000, tier={"bytesPerSecond": 1e10, "latency": "2ms"}
    )
    asked, known = request(tokens=1024), facts(2, blocks=BLOCKS)
    assert producer.produce(asked, known) == {FETCHES: ()}
    ended(producer, 200)
    ((tokens, latency, per_token, tier, peer),) = producer.produce(asked, known)[FETCHES]
    assert tokens.tolist() == [1024.0, 1024.0]
    assert (latency, per_token, tier, peer) == (0.002, pytest.approx(1e-5), "remote", "")


def test_what_failed_was_not_computed() -> None:
    """So it is nowhere."""
    producer = SharedCacheProducer()
    ended(producer, 500)
    assert producer.produce(request(tokens=1024), facts(1, blocks=BLOCKS)) == {FETCHES: ()}


def test_a_wrong_parameter_is_named() -> None:
    """And the nearest right one."""
    with pytest.raises(ConfigError, match="sizeTokens"):
        plugin(SharedCacheProducer, sizeToken=5)
    with pytest.raises((ConfigError, msgspec.ValidationError)):
        plugin(SharedCacheProducer, tier={"bytesPerSecond": 0})
