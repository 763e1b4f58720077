"""Where a request goes and why: the pick, its alternatives, and the columns it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from igw.endpoint import Endpoint
from igw.facts import Column
from igw.request import Request


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
    """Tokens of those blocks, at four bytes each."""
    candidates: tuple[Endpoint, ...] = ()
    scores: Mapping[str, Column] = {}
    """Weighted score per candidate, by plugin name, in candidate order."""
    decided_at: float = 0.0
    """Seconds on the picker's monotonic clock."""

    @property
    def endpoint(self) -> Endpoint:
        """The picked endpoint."""
        return self.endpoints[0]

    @property
    def uncached_tokens(self) -> int:
        """Prompt tokens that the picked endpoint is believed to have to compute."""
        return max(0, self.request.prompt_tokens - self.matched_tokens)

    @property
    def destination(self) -> str:
        """Value of `x-gateway-destination-endpoint`: `ip:port[,ip:port...]` (protocol 004)."""
        return ",".join([endpoint.hostport for endpoint in self.endpoints])
