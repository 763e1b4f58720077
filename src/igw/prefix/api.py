"""What a cache outside the picker is asked and says: who could load how many leading tokens of a prompt, from where, in how many seconds.

Who asks caches over the network is `remotecaches`; what endpoints hold themselves is `exact` and `index`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np

from igw.endpoint import Endpoint
from igw.prefix.chain import Prompt


class Cost(msgspec.Struct, frozen=True):
    """What it takes to load keys and values from one tier into an engine."""

    latency_seconds: float = 0.0
    """Before the first token is there."""
    seconds_per_token: float = 0.0


FREE = Cost()
"""Of what an endpoint has in its GPU memory already."""

Costs: TypeAlias = Mapping[str, Cost]
"""By tier: `cpu` and `disk` of the endpoint itself, `remote` memory that all can reach, `peer`: another endpoint's."""


class Question(msgspec.Struct, frozen=True):
    """One prompt, and who might serve it. Caches that hash in their own way go by its tokens, ours by the hashes of its blocks."""

    model: str
    """Name of the model or the LoRA adapter that serves it."""
    endpoints: tuple[Endpoint, ...]
    prompt: Prompt | None = None
    """In tokens; None where nobody has made any."""
    blocks: Sequence[int] = ()
    """Hashes of its text's blocks (`prefix.hashing`)."""


class Offer(msgspec.Struct, frozen=True):
    """Leading tokens of the prompt that need not be computed."""

    tokens: int
    tier: str
    cost: Cost
    to: str = ""
    """`ip:port` of the only endpoint that can have them from there; empty: every one but `peer`."""
    peer: str = ""
    """`ip:port` of the endpoint that holds them for others."""


class RemoteCache(Protocol):
    """A cache that is asked over the network, under a deadline: it is cancelled when it is late."""

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return what can be had; nothing where it is not known or the cache cannot be asked."""
        ...


def fetches(offers: Sequence[Offer], endpoints: Sequence[Endpoint], scale: float = 1.0) -> tuple[Any, ...]:
    """Return *offers* as columns of *endpoints*, as the fact `igw.facts.FETCHES` has them; *scale*: of the fact's tokens in one of theirs.

    Those of one tier and cost that differ only in whom they are for are one.
    """
    row = {endpoint.hostport: index for index, endpoint in enumerate(endpoints)}
    columns: dict[tuple[str, Cost, str], Any] = {}
    for offer in offers:
        if offer.tokens <= 0 or (offer.to and offer.to not in row):
            continue
        column = columns.setdefault((offer.tier, offer.cost, offer.peer), np.zeros(len(endpoints)))
        tokens = offer.tokens * scale
        if offer.to:
            column[row[offer.to]] = max(column[row[offer.to]], tokens)
        else:
            np.maximum(column, tokens, out=column)
            if offer.peer in row:
                column[row[offer.peer]] = 0.0
    return tuple(
        (tokens, cost.latency_seconds, cost.seconds_per_token / scale, tier, peer)
        for (tier, cost, peer), tokens in columns.items()
    )
