"""`mm-embeddings-cache-producer`: which endpoint has encoded which images, videos and audio, from our own picks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.decision import Decision
from igw.facts import MEDIA, TOKENS, Facts
from igw.request import Request
from igw.scheduling.api import Producer

_ITEM_MEBIBYTES = 2
_MOST_ENDPOINTS = 4096


class MmEmbeddingsCacheProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps an LRU of content hashes per endpoint, 2 MiB assumed for each. Owner of those."""

    type: ClassVar[str] = "mm-embeddings-cache-producer"
    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    provides: ClassVar[tuple[str, ...]] = (MEDIA,)

    cache_size_in_mb_per_server: Annotated[int, Meta(gt=0)] = msgspec.field(
        name="cacheSizeInMBPerServer", default=4096
    )

    def __post_init__(self) -> None:
        self._held: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return the size of the request's media that each endpoint has seen, and of all of them."""
        media = {each.hash: each.tokens for each in request.media}  # one that is there twice is encoded once
        if not media:
            return {}
        sizes = np.array(
            [self._size(endpoint.hostport, media) for endpoint in facts.endpoints], dtype=np.float64
        )
        return {MEDIA: (sizes, sum(media.values()))}

    def decided(self, decision: Decision, /) -> None:
        """Believe that the picked endpoint will have the request's media."""
        if not decision.request.media:
            return
        where = decision.endpoint.hostport
        held = self._held.setdefault(where, OrderedDict())
        self._held.move_to_end(where)
        for each in decision.request.media:
            held[each.hash] = None
            held.move_to_end(each.hash)
        while len(held) > max(1, self.cache_size_in_mb_per_server // _ITEM_MEBIBYTES):
            held.popitem(last=False)
        if len(self._held) > _MOST_ENDPOINTS:
            self._held.popitem(last=False)

    def left(self, hostport: str, /) -> None:
        """Forget an endpoint that left its pool."""
        self._held.pop(hostport, None)

    def _size(self, hostport: str, media: Mapping[str, int]) -> float:
        held = self._held.get(hostport)
        return float(sum(size for item, size in media.items() if item in held)) if held else 0.0


_: type[Producer] = MmEmbeddingsCacheProducer
