"""`concurrency-detector`: is an endpoint, or the pool, full by what we have in flight there? Filter, and measure of saturation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.saturation import concurrency_room, concurrency_saturation


class ConcurrencyDetector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints with less in flight than the limit * (1 + `headroom`), of requests, tokens or both; possibly none."""

    type: ClassVar[str] = "concurrency-detector"

    max_concurrency: Annotated[int, Meta(gt=0)] = 100
    """Requests."""
    max_token_concurrency: Annotated[int, Meta(gt=0)] = 1_000_000
    concurrency_mode: Literal["requests", "tokens", "hybrid"] = "requests"
    headroom: Annotated[float, Meta(ge=0)] = 0.0
    in_flight_load_producer_name: str = ""
    """Accepted, without effect: there is one count, which the reservations keep."""

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who is below the limit."""
        burst = 1.0 + self.headroom
        return concurrency_room(
            facts.inflight,
            _tokens(facts),
            self.max_concurrency * burst,
            self.max_token_concurrency * burst,
            self.concurrency_mode,
        )

    def saturation(self, facts: Facts) -> float:
        """Return the share of the pool's capacity that is in flight; 1 is full, more is possible."""
        return concurrency_saturation(
            facts.inflight,
            _tokens(facts),
            self.max_concurrency,
            self.max_token_concurrency,
            self.concurrency_mode,
        )


def _tokens(facts: Facts) -> Column:
    tokens = facts.inflight_tokens
    return tokens if len(tokens) else np.zeros(len(facts.inflight))


_: type[Filter] = ConcurrencyDetector
