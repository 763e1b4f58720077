"""`mm-embeddings-cache-producer`: what was sent there is believed to be there, as long as it fits."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import MEDIA, Facts
from igw.request import Head, Media, Request
from igw.scheduling.producers.mm_embeddings_cache import MmEmbeddingsCacheProducer

A, B = (Endpoint.at(f"10.0.0.{n}", 8000) for n in (1, 2))
ZERO = np.zeros(2)
FACTS = Facts(ZERO, ZERO, ZERO, ZERO, ZERO, endpoints=(A, B))


def request(*media: tuple[str, int]) -> Request:
    """Return a request with images of a hash and a size."""
    return Request(
        Head("/v1/chat/completions", "POST", {}), media=tuple(Media("image", *each) for each in media)
    )


def made(megabytes: int = 4096) -> MmEmbeddingsCacheProducer:
    """Return a producer that believes in caches of that size."""
    return msgspec.convert({"cacheSizeInMBPerServer": megabytes}, MmEmbeddingsCacheProducer)


def test_what_was_sent_to_an_endpoint_is_believed_to_be_there() -> None:
    """By size, and only there."""
    producer = made()
    producer.decided(Decision(1, request(("cat", 100), ("dog", 50)), (A,)))
    sizes, total = producer.produce(request(("cat", 100), ("cow", 30)), FACTS)[MEDIA]
    assert (sizes.tolist(), total) == ([100.0, 0.0], 130)
    known = FACTS.knowing("mm-embeddings-cache-producer", producer.produce(request(("dog", 50)), FACTS))
    assert (known.matched_media.tolist(), known.media_size) == ([50.0, 0.0], 50)


def test_a_request_without_media_says_nothing() -> None:
    """It costs nothing either."""
    assert made().produce(request(), FACTS) == {}


def test_an_item_that_is_there_twice_counts_once() -> None:
    """It is encoded once."""
    assert made().produce(request(("cat", 100), ("cat", 100)), FACTS)[MEDIA][1] == 100


def test_the_least_recently_used_are_forgotten() -> None:
    """Two mebibytes an item."""
    producer = made(megabytes=4)
    for item in ("a", "b", "a", "c"):
        producer.decided(Decision(1, request((item, 1)), (A,)))
    sizes, _ = producer.produce(request(("a", 1), ("b", 10), ("c", 100)), FACTS)[MEDIA]
    assert sizes.tolist() == [101.0, 0.0]


def test_an_endpoint_that_left_takes_what_it_held_with_it() -> None:
    """At once; one that was never there is no trouble."""
    producer = made()
    producer.decided(Decision(1, request(("cat", 100)), (A,)))
    producer.left(A.hostport)
    producer.left("10.9.9.9:1")
    assert producer.produce(request(("cat", 100)), FACTS)[MEDIA][0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("parameters", [{"cacheSizeInMB": 1}, {"cacheSizeInMBPerServer": 0}])
def test_nonsense_is_refused(parameters: dict[str, int]) -> None:
    """Upstream's own sample misspells it."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(parameters, MmEmbeddingsCacheProducer)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=40))
def test_no_more_is_believed_than_fits(sent: list[tuple[str, bool]]) -> None:
    """Each endpoint holds the last three different items, in candidate order."""
    producer = made(megabytes=6)
    last: dict[bool, list[str]] = {True: [], False: []}
    for item, first in sent:
        producer.decided(Decision(1, request((item, 1)), (A if first else B,)))
        last[first] = [*(other for other in last[first] if other != item), item][-3:]
    sizes, total = producer.produce(request(*((item, 1) for item in "abcdef")), FACTS)[MEDIA]
    assert sizes.tolist() == [float(len(last[True])), float(len(last[False]))]
    assert total == 6
