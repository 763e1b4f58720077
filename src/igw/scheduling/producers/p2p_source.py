"""`p2p-source-producer`: which endpoint the picked one could pull the prompt's KV cache from, and the header that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.decision import Delivery
from igw.facts import DEFAULT_PRODUCERS, FETCHES, PREFIX, Facts
from igw.request import Request
from igw.scheduling.api import Deliverer, Producer, Ranking
from igw.scheduling.loading import BYTES_PER_TOKEN, BytesPerToken, TierSpeed

HEADER = "x-kv-cache-source-host-port"
"""Upstream's: `ip:port` of the peer, for the sidecar of the endpoint that computes the prompt."""
_BLOCK_TOKENS = 64
"""Peers that hold no more than this less than the best are as good (upstream: one block)."""


class P2pSourceProducer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Offers the peer that holds most of the prompt as a place to fetch it from.

    Where requests are priced, whether it is cheaper to pull than to compute is decided with the pick, in seconds. Elsewhere by upstream's rule: the peer is
    named if it holds `minCachedTokenDelta` tokens more than the endpoint that computes the prompt.
    """

    type: ClassVar[str] = "p2p-source-producer"
    needs: ClassVar[tuple[str, ...]] = (PREFIX,)
    provides: ClassVar[tuple[str, ...]] = (FETCHES,)

    min_cached_token_delta: Annotated[int, Meta(ge=1)] = 1
    prefill_profile_name: str = "prefill"
    """Whose pick computes the prompt, where there is such a profile; else the primary one's."""
    prefix_match_info_producer_name: str = DEFAULT_PRODUCERS[PREFIX]
    bytes_per_token: BytesPerToken = BYTES_PER_TOKEN
    """Of keys and values. Ours, as `peer`."""
    peer: TierSpeed = TierSpeed()

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return the peer that would be pulled from, as something to fetch for everybody else."""
        held, total = facts.prefix(self.prefix_match_info_producer_name)
        if not total or held.max(initial=0.0) < self.min_cached_token_delta:
            return {}
        near = np.flatnonzero((held > 0.0) & (held >= held.max() - _BLOCK_TOKENS))
        source = int(
            _drawn(near, 1.0 / (1.0 + facts.waiting[near]), request.head.headers.get("x-request-id", ""))
        )
        # What an exact index counts is tokens of the model, and elsewhere a token is four bytes.
        scale = 1.0 if total == facts.prefix_tokens else request.prompt_tokens / total
        tokens = np.full(len(held), held[source] * scale)
        tokens[source] = 0.0
        cost = self.peer.cost(self.bytes_per_token)
        peer = facts.endpoints[source].hostport
        return {FETCHES: ((tokens, cost.latency_seconds, cost.seconds_per_token / scale, "peer", peer),)}

    def deliver(
        self,
        delivery: Delivery,
        _request: Request,
        facts: Facts,
        picked: Sequence[int],
        done: Mapping[str, Ranking | None],
        /,
    ) -> Delivery:
        """Name the peer to the endpoint that computes the prompt."""
        prefill = done.get(self.prefill_profile_name)
        peer = self._peer(facts, prefill.picked[0] if prefill is not None else picked[0])
        if not peer:
            return delivery
        return msgspec.structs.replace(delivery, headers={**delivery.headers, HEADER: peer})

    def _peer(self, facts: Facts, computes: int) -> str:
        if len(facts.fetched):
            chosen = facts.fetched.item(computes)
            return facts.fetches[chosen].peer if chosen >= 0 else ""
        for each in facts.fetches:
            more = each.tokens[computes] - facts.matched_tokens[computes]
            if each.peer and more >= self.min_cached_token_delta:
                return each.peer
        return ""


def _drawn(candidates: Any, weights: Any, request_id: str) -> int:
    """Return one of *candidates* by *weights*, the same for equal ids: pickers that do not talk agree (upstream's FNV-1a, 32 bits)."""
    digest = 0x811C9DC5
    for byte in request_id.encode():
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    ends = np.cumsum(weights)
    place = int(np.searchsorted(ends, digest / 2**32 * ends[-1], side="right"))
    return int(candidates[min(place, len(candidates) - 1)])


_: tuple[type[Producer], type[Deliverer]] = (P2pSourceProducer, P2pSourceProducer)
