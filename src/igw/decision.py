"""Where a request goes and why: the pick, its alternatives, and the columns it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from igw.endpoint import Endpoint
from igw.facts import Column
from igw.request import Request

NO_RESERVATION = 0
"""The id of a decision that reserves nothing: its request is sent to wait, and who lets it wait will decide and tell of its end."""


class Delivery(msgspec.Struct, frozen=True):
    """What plugins want said with a pick, beside the pick itself."""

    headers: Mapping[str, str] = {}
    """Set on the request on its way to the model server. Names in lower case."""
    answer_headers: Mapping[str, str] = {}
    """Set on the answer. Only where the gateway shows us answers (full mode): a lean one does not."""
    tell_served: str = ""
    """Name of a header of the answer that is to say who served it, as the gateway told us; empty: none."""
    metadata: Mapping[str, Mapping[str, Any]] = {}
    """Dynamic metadata for the proxy, by namespace and key. What the picker itself says in `envoy.lb` stays."""
    address: str = ""
    """`ip:port` to send to in the picked endpoint's place, which is a rank behind that port. Retries are then not named."""


class Fetched(msgspec.Struct, frozen=True):
    """KV cache that the picked endpoint is expected to fetch instead of computing it."""

    tokens: int
    """Beyond those that it has, at four bytes each."""
    seconds: float
    """How long that is expected to take."""
    tier: str
    peer: str = ""
    """`ip:port` of the endpoint that it comes from; empty where the engine finds it by itself."""


class Decision(msgspec.Struct, frozen=True):
    """The pick for one request, with what is needed to explain it and to settle it afterwards."""

    id: int
    """Unique in this process; comes back with the outcome. A client cannot choose it."""
    request: Request
    endpoints: tuple[Endpoint, ...]
    """Best first; the others are where the proxy retries, in order."""
    blocks: Sequence[int] = ()
    """Prefix block hashes of the prompt, as long as the index may still want them."""
    matched_tokens: int = 0
    """Of the prompt's tokens, those that the picked endpoint was believed to have cached, at four bytes each."""
    matched_by: str = ""
    """By what that is known: `igw.facts.EXACT`, `SPECULATIVE` or `APPROXIMATE`; empty where nothing matched."""
    candidates: tuple[Endpoint, ...] = ()
    scores: Mapping[str, Column] = {}
    """Weighted score per candidate, by plugin name, in candidate order."""
    costs: Mapping[str, Column] = {}
    """What the cost of each candidate was made of, in seconds, by term; empty where no plugin asked for it."""
    expected_ttft_seconds: float = 0.0
    """From dispatch to the first token, by what was known at the pick; 0 where no plugin asked for costs, and for output other than text."""
    fetch: Fetched | None = None
    """What it will not compute because it comes from elsewhere; None: nothing."""
    delivery: Delivery = Delivery()
    decided_at: float = 0.0
    """Seconds on the picker's monotonic clock."""
    waited_seconds: float = 0.0
    """From the request until its pick began, in a queue mostly: no model server is to blame for it."""

    @property
    def endpoint(self) -> Endpoint:
        """The picked endpoint."""
        return self.endpoints[0]

    @property
    def uncached_tokens(self) -> int:
        """Prompt tokens that the picked endpoint is believed to have to compute."""
        held = self.matched_tokens + (self.fetch.tokens if self.fetch is not None else 0)
        return max(0, self.request.prompt_tokens - held)

    @property
    def destination(self) -> str:
        """Value of `x-gateway-destination-endpoint`: `ip:port[,ip:port...]` (protocol 004)."""
        return self.delivery.address or ",".join([endpoint.hostport for endpoint in self.endpoints])

    def totals(self) -> Mapping[str, float]:
        """Return the sum of the scores of every candidate that was scored, by `ip:port`."""
        if not self.scores:
            return {}
        sums = np.sum(list(self.scores.values()), axis=0).tolist()
        return {
            endpoint.hostport: total
            for endpoint, total in zip(self.candidates, sums, strict=True)
            if np.isfinite(total)
        }

    def server(self, served_by: str) -> str:
        """Return `ip:port` of the endpoint that served, by the address the gateway named; the picked one if it named none."""
        return self.endpoint.hostport if served_by in ("", self.delivery.address) else served_by
