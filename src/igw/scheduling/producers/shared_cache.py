"""`shared-cache-producer`: what endpoints could load from a tier that they share, believed from our own picks. Ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from igw.decision import Decision
from igw.facts import FETCHES, Facts
from igw.prefix.api import Question, fetches
from igw.prefix.shared import SharedPrefix
from igw.request import Request
from igw.scheduling.api import Producer
from igw.scheduling.loading import BYTES_PER_TOKEN, BytesPerToken, TierSpeed


class SharedCacheProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Believes that the tier holds every prompt that was answered, the newest `sizeTokens` of them. Nobody is asked, so nothing is waited for.

    For a store that engines write what they compute to and read on their own. It needs no tokens.
    """

    type: ClassVar[str] = "shared-cache-producer"
    provides: ClassVar[tuple[str, ...]] = (FETCHES,)

    size_tokens: Annotated[int, Meta(gt=0)] = 10_000_000
    """What fits into the tier, at four bytes each."""
    bytes_per_token: BytesPerToken = BYTES_PER_TOKEN
    """Of keys and values: 2 x layers x key-value heads x head size x bytes of a number."""
    tier: TierSpeed = TierSpeed()

    def __post_init__(self) -> None:
        self.shared = SharedPrefix(self.size_tokens, self.tier.cost(self.bytes_per_token))

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return what every candidate could load."""
        offers = self.shared.offers(Question(request.served_model, facts.endpoints, blocks=facts.blocks))
        return {FETCHES: fetches(offers, facts.endpoints)}

    def ended(self, decision: Decision, outcome: Any, /) -> None:
        """Believe that what was answered is in the tier now."""
        if outcome.status == 200:
            self.shared.stored(decision.blocks)


_: type[Producer] = SharedCacheProducer
