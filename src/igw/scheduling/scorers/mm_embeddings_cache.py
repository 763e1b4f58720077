"""`mm-embeddings-cache-scorer`: prefers endpoints that have encoded the request's images, videos or audio before."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class MmEmbeddingsCacheScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Scores matched / total size of the request's media; 0 for all without media (upstream's formula)."""

    type: ClassVar[str] = "mm-embeddings-cache-scorer"

    producer_name: str = ""
    """Accepted, without effect: there is one book of media."""

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the media that match."""
        matched = facts.matched_media
        if facts.media_size <= 0 or not len(matched):
            return np.zeros(len(facts.inflight))
        return matched / facts.media_size


_: type[Scorer] = MmEmbeddingsCacheScorer
