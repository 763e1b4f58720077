"""What is known when a request is decided: columns of numbers, one entry per candidate, in candidate order.

Who measures them is not here: engines are read in `scraping`, promises are kept in `outcomes`, prefixes in `prefix`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.endpoint import Endpoint

Column: TypeAlias = NDArray[np.float64]
"""Shape: [candidates]. Always finite: an unknown entry holds the mean of the known ones, because unknown is not idle."""


_NONE: Column = np.zeros(0)
_NONE.flags.writeable = False


class Facts(msgspec.Struct, frozen=True):
    """Facts for one pick. Columns are shared with their owners: read them before the next await, never write."""

    waiting: Column
    """Requests queued in the engine, scraped (vLLM `num_requests_waiting`)."""
    running: Column
    """Requests in the engine's batch, scraped (vLLM `num_requests_running`)."""
    kv_usage: Column
    """Share of KV memory in use, 0 to 1, scraped (vLLM `kv_cache_usage_perc`)."""
    inflight: Column
    """Requests this picker sent there that have not ended: exact and current, unlike the scraped columns."""
    matched_tokens: Column
    """Leading tokens of the prompt believed to be in the endpoint's prefix cache, at four bytes each."""
    blocks: Sequence[int] = ()
    """Chained hashes of the prompt's full blocks, which grow with depth: count tokens, not blocks."""
    prefix_tokens: int = 0
    """Tokens of all *blocks*, at four bytes each: the most that can match."""
    inflight_tokens: Column = _NONE
    """Prompt tokens of the requests in flight that were believed uncached when they were sent (upstream's `InFlightLoad`)."""
    endpoints: tuple[Endpoint, ...] = ()
    """The candidates themselves, for plugins that look at labels or go by identity."""

    def narrowed(self, keep: NDArray[np.bool_]) -> Facts:
        """Return the facts of the candidates that *keep* marks. Shape: [candidates]."""
        columns = {name: column[keep] for name in _COLUMNS if len(column := getattr(self, name)) == len(keep)}
        endpoints = tuple(compress(self.endpoints, keep.tolist()))
        return msgspec.structs.replace(self, endpoints=endpoints, **columns)


_COLUMNS = ("waiting", "running", "kv_usage", "inflight", "matched_tokens", "inflight_tokens")
