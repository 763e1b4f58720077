"""The tier that simulated servers share: each of them knows what is in it (`igw.simulator.http.shared_cache`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from igw.prefix.api import Costs, Offer, Question
from igw.remotecaches.http import Client

PATH = "/igw/shared-cache"


class _Held(msgspec.Struct):
    tokens: int


_held = msgspec.json.Decoder(_Held).decode


class SimulatedTier:
    """Asks the first endpoint of each question: all of them would say the same."""

    def __init__(self, client: Client, costs: Costs) -> None:
        self._client = client
        self._cost = costs["remote"]

    async def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return what every endpoint could load."""
        prompt = question.prompt
        if prompt is None or not question.endpoints:
            return ()
        body = msgspec.json.encode(
            {"model": question.model, "tokens": prompt.numbers(), "cache_salt": prompt.salt}
        )
        url = f"http://{question.endpoints[0].hostport}{PATH}"
        held = _held(await self._client.post(url, body))
        return (Offer(held.tokens, "remote", self._cost),)
