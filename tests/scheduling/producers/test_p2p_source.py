"""`p2p-source-producer`: whom KV cache is pulled from, and who is told."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from igw.decision import Delivery
from igw.facts import FETCHES, Facts
from igw.scheduling.api import Ranking
from igw.scheduling.producers.p2p_source import HEADER, P2pSourceProducer
from tests.scheduling.candidates import facts, plugin, request


def produced(producer: P2pSourceProducer, known: Facts, request_id: str = "r") -> Facts:
    """Return *known* and what the producer found out."""
    asked = request({"x-request-id": request_id}, tokens=2000)
    return known.knowing(producer.type, producer.produce(asked, known))


def named(producer: P2pSourceProducer, known: Facts, picked: int, **done: int) -> str | None:
    """Return whom the header names if *picked* serves, and profiles came to what *done* says."""
    rankings = {name: Ranking((index,), {}) for name, index in done.items()}
    delivery = producer.deliver(Delivery(), request(), known, (picked,), rankings)
    return delivery.headers.get(HEADER)


def test_the_peer_with_most_of_the_prompt_offers_it_to_the_others() -> None:
    """At what the network between them takes."""
    producer = plugin(
        P2pSourceProducer, bytesPerToken=100_000, peer={"bytesPerSecond": 1e10, "latency": "3ms"}
    )
    known = produced(producer, facts(3, matched_tokens=[0, 1500, 200], prefix_tokens=2000))
    (fetch,) = known.fetches
    assert fetch.tokens.tolist() == [1500.0, 0.0, 1500.0]
    assert (fetch.peer, fetch.tier, fetch.latency_seconds) == ("10.0.0.2:8000", "peer", 0.003)
    assert fetch.seconds_per_token == pytest.approx(1e-5)


def test_nobody_who_holds_nothing_is_offered() -> None:
    """Nor anybody below the least that a user wants."""
    assert not produced(P2pSourceProducer(), facts(2, prefix_tokens=2000)).fetches
    least = P2pSourceProducer(min_cached_token_delta=2000)
    assert not produced(least, facts(2, matched_tokens=[1999, 0], prefix_tokens=2000)).fetches


def test_without_prices_a_peer_is_named_by_how_much_more_it_holds() -> None:
    """Upstream's rule; never to the peer itself."""
    producer = P2pSourceProducer(min_cached_token_delta=500)
    known = produced(producer, facts(3, matched_tokens=[1500, 1100, 900], prefix_tokens=2000))
    assert [named(producer, known, picked) for picked in range(3)] == [None, None, "10.0.0.1:8000"]


def test_who_computes_the_prompt_is_the_prefill_profiles_pick() -> None:
    """Where there is such a profile."""
    producer = P2pSourceProducer()
    known = produced(producer, facts(2, matched_tokens=[1500, 0], prefix_tokens=2000))
    assert named(producer, known, 1, prefill=0, decode=1) is None
    assert named(producer, known, 0, prefill=1, decode=0) == "10.0.0.1:8000"


def test_with_prices_a_peer_is_named_where_the_price_counts_on_it() -> None:
    """However much more it holds."""
    producer = P2pSourceProducer()
    known = produced(producer, facts(3, matched_tokens=[1500, 0, 0], prefix_tokens=2000))
    known = msgspec.structs.replace(known, fetched=np.array([-1, 0, -1]))
    assert [named(producer, known, picked) for picked in range(3)] == [None, "10.0.0.1:8000", None]


def test_peers_as_good_share_by_their_queues_and_pickers_agree() -> None:
    """One block is no difference; the same request always draws the same."""
    producer = P2pSourceProducer()
    known = facts(3, matched_tokens=[1500, 1480, 1000], waiting=[0, 3, 0], prefix_tokens=2000)
    drawn = Counter(produced(producer, known, f"request-{number}").fetches[0].peer for number in range(400))
    assert drawn.keys() == {"10.0.0.1:8000", "10.0.0.2:8000"}
    assert 0.7 < drawn["10.0.0.1:8000"] / 400 < 0.9
    again = produced(producer, known, "request-7").fetches[0].peer
    assert again == produced(P2pSourceProducer(), known, "request-7").fetches[0].peer


def test_an_exact_producers_tokens_are_counted_as_the_facts_count_them() -> None:
    """A thousand real ones where the facts count two thousand of four bytes."""
    producer = P2pSourceProducer(prefix_match_info_producer_name="exact")
    known = facts(2, prefix_tokens=1984)
    known = known.knowing("exact", {"PrefixCacheMatchInfo": (np.array([800.0, 0.0]), 1000)})
    ((tokens, *_),) = producer.produce(request(tokens=2000), known)[FETCHES]
    assert tokens.tolist() == [0.0, 1600.0]
