"""`approx-prefix-cache-producer`: parameters in tokens, and matches as far as they allow."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.facts import PREFIX, Facts
from igw.prefix.hashing import MAX_BLOCKS, tokens_at
from igw.prefix.index import DEFAULT_CAPACITY_TOKENS
from igw.request import Head, Request
from igw.scheduling.producers.approx_prefix_cache import ApproxPrefixCacheProducer

REQUEST = Request(Head("/v1/completions", "POST", {}))


def facts(matched: list[float], total: int) -> Facts:
    """Return facts of endpoints that match so many tokens."""
    column = np.array(matched)
    zero = np.zeros(len(matched))
    return Facts(zero, zero, zero, zero, column, prefix_tokens=total)


def made(**parameters: Any) -> ApproxPrefixCacheProducer:
    """Return a producer from parameters as a file has them."""
    return msgspec.convert(parameters, ApproxPrefixCacheProducer)


@pytest.mark.parametrize(
    ("parameters", "depth"),
    [
        ({}, MAX_BLOCKS),
        ({"maxPrefixTokensToMatch": 640}, 10),
        ({"maxPrefixTokensToMatch": 63}, 0),
        ({"maxPrefixTokensToMatch": 64 * 64 + 256}, 65),
        ({"maxPrefixTokensToMatch": 0, "maxPrefixBlocksToMatch": 3, "blockSizeTokens": 128}, 6),
        ({"maxPrefixTokensToMatch": 0, "maxPrefixBlocksToMatch": 0}, MAX_BLOCKS),
    ],
)
def test_matches_count_up_to_the_written_length(parameters: dict[str, Any], depth: int) -> None:
    """In igw's own blocks, whole ones."""
    producer = made(**parameters)
    assert producer.depth == depth
    assert producer.idle is (depth == MAX_BLOCKS)


@pytest.mark.parametrize(
    ("parameters", "tokens"),
    [
        ({}, DEFAULT_CAPACITY_TOKENS),
        ({"lruCapacityPerServer": 10}, 640),
        ({"lruCapacityPerServer": 10, "blockSizeTokens": 100}, 1000),
        ({"lruCapacityPerServer": 10, "blockSize": 100}, 1000),
        ({"lruCapacityPerServer": 10, "blockSize": 100, "blockSizeTokens": 200}, 2000),
    ],
)
def test_the_capacity_is_told_in_tokens(parameters: dict[str, Any], tokens: int) -> None:
    """A block is never smaller than 64; the deprecated name counts where the other is not written."""
    assert made(**parameters).capacity_tokens == tokens


@pytest.mark.parametrize(
    "parameters",
    [{"maxPrefixTokensToMatch": -1}, {"blockSizeTokens": 0}, {"lruCapacityPerServer": 0}, {"autotune": 1}],
)
def test_nonsense_is_refused(parameters: dict[str, Any]) -> None:
    """Also a name in another case."""
    with pytest.raises(msgspec.ValidationError):
        made(**parameters)


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=6), st.integers(0, 200_000))
def test_nothing_beyond_the_limit_counts(matched: list[int], most: int) -> None:
    """In candidate order, no match above the total, and no match above what there is."""
    total = max(matched)
    producer = made(maxPrefixTokensToMatch=most or 1)
    tokens, least = producer.produce(REQUEST, facts([float(m) for m in matched], total))[PREFIX]
    assert least == min(total, tokens_at(producer.depth))
    assert tokens.tolist() == [min(m, tokens_at(producer.depth)) for m in matched]
