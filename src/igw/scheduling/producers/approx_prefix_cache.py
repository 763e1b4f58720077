"""`approx-prefix-cache-producer`: which endpoint is believed to have which prefix, from our own picks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.facts import PREFIX, TOKENS, Facts
from igw.prefix.hashing import MAX_BLOCKS, depth_at, tokens_at
from igw.prefix.index import DEFAULT_CAPACITY_TOKENS
from igw.request import Request
from igw.scheduling.api import Producer

_LEAST_BLOCK_TOKENS = 64
"""Upstream's blocks are never smaller, whatever is written."""


class ApproxPrefixCacheProducer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Reads the one prefix index there is, as far as `maxPrefixTokensToMatch`; its capacity parameters are the index's.

    Blocks are igw's own: 64 tokens at the prompt's start, larger ones further in, never a partial one. Several producers share the
    index; the first in the file says how much it believes.
    """

    type: ClassVar[str] = "approx-prefix-cache-producer"
    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    provides: ClassVar[tuple[str, ...]] = (PREFIX,)

    auto_tune: bool = True
    """Take each endpoint's capacity from its metrics; without it `lruCapacityPerServer` holds for all."""
    block_size_tokens: Annotated[int, Meta(gt=0)] = 16
    """Only to read `lruCapacityPerServer` in tokens; below 64 it counts as 64, as upstream does."""
    block_size: Annotated[int, Meta(ge=0)] = 0
    """Deprecated: `blockSizeTokens`, where that is not written."""
    max_prefix_tokens_to_match: Annotated[int, Meta(ge=0)] = 131_072
    """Matches count up to here. 0: `maxPrefixBlocksToMatch` says it."""
    max_prefix_blocks_to_match: Annotated[int, Meta(ge=0)] = 2048
    """Deprecated; 0 for both is unlimited, which is igw's own limit of 131,072 tokens."""
    lru_capacity_per_server: Annotated[int, Meta(gt=0)] = 31_250
    """Blocks per endpoint, where its metrics do not say or may not."""

    @property
    def idle(self) -> bool:
        """Whether it says no more than the facts that are always gathered."""
        return self.depth >= MAX_BLOCKS

    @property
    def depth(self) -> int:
        """How many of igw's blocks may match."""
        tokens = self.max_prefix_tokens_to_match or self.max_prefix_blocks_to_match * self._block_tokens
        return depth_at(tokens) if tokens else MAX_BLOCKS

    @property
    def capacity_tokens(self) -> int:
        """What an endpoint is believed to hold where it does not say."""
        if self.lru_capacity_per_server == 31_250 and self._block_tokens == _LEAST_BLOCK_TOKENS:
            return DEFAULT_CAPACITY_TOKENS
        return self.lru_capacity_per_server * self._block_tokens

    @property
    def _block_tokens(self) -> int:
        written = (
            self.block_size if self.block_size and self.block_size_tokens == 16 else self.block_size_tokens
        )
        return max(_LEAST_BLOCK_TOKENS, written)

    def produce(self, _request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return what is matched, at most as far as the file says."""
        most = tokens_at(self.depth)
        return {PREFIX: (np.minimum(facts.matched_tokens, most), min(facts.prefix_tokens, most))}


_: type[Producer] = ApproxPrefixCacheProducer
