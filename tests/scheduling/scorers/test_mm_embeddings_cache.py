"""`mm-embeddings-cache-scorer` by table."""

from __future__ import annotations

import numpy as np
import pytest

from igw.facts import Facts
from igw.request import Head, Request
from igw.scheduling.scorers.mm_embeddings_cache import MmEmbeddingsCacheScorer


@pytest.mark.parametrize(
    ("matched", "size", "scores"),
    [
        ([0, 256, 1024], 1024, [0, 0.25, 1]),
        ([7], 14, [0.5]),
        ([0, 0], 0, [0, 0]),
    ],
)
def test_the_score_is_the_share_of_the_media_that_were_encoded(
    matched: list[float], size: int, scores: list[float]
) -> None:
    """Matched / total size; a request without media prefers nobody."""
    none = np.zeros(len(matched))
    facts = Facts(none, none, none, none, none, matched_media=np.array(matched, dtype=float), media_size=size)
    assert MmEmbeddingsCacheScorer().score(Request(Head("/", "GET", {})), facts).tolist() == scores


def test_nobody_is_preferred_where_nobody_keeps_book() -> None:
    """Without a producer there is no column."""
    none = np.zeros(2)
    facts = Facts(none, none, none, none, none, media_size=100)
    assert MmEmbeddingsCacheScorer().score(Request(Head("/", "GET", {})), facts).tolist() == [0, 0]
