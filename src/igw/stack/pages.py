"""What the check reads on metrics pages: the picker's times and reservations, the servers' finished requests.

Following pages over time, as the picker does, is `igw.scraping`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import aiohttp
import msgspec

from igw.scraping.exposition import label, series

PROCESSING = b"llm_d_epp_request_processing_duration_seconds"
"""From the request's headers to the answer to its body, in the picker (upstream's metric)."""
SCHEDULING = b"llm_d_epp_scheduler_e2e_duration_seconds"
"""The pick alone (upstream's metric)."""
_RESERVATIONS = b"igw_reservations_open"
_FINISHED = b"vllm:request_success_total"
_PAGE_SECONDS = 5.0


class Durations(msgspec.Struct, frozen=True):
    """A histogram in three numbers."""

    count: int
    mean_seconds: float
    p99_seconds: float
    """Linear within its bucket; infinite when it is over the last bound."""


async def fetch(session: aiohttp.ClientSession, hostport: str) -> bytes:
    """Return the page at `http://hostport/metrics`; `aiohttp.ClientError` or `TimeoutError` when it cannot be had."""
    timeout = aiohttp.ClientTimeout(total=_PAGE_SECONDS)
    async with session.get(f"http://{hostport}/metrics", timeout=timeout, raise_for_status=True) as answer:
        return await answer.read()


def total(page: bytes, name: bytes) -> float:
    """Return the sum over all series of *name*; 0 when there is none."""
    return sum(value for _, value in series(page, name))


def reservations(page: bytes) -> int:
    """Return how many requests the picker still counts on an endpoint; `LookupError` if its page does not say."""
    values = [value for _, value in series(page, _RESERVATIONS)]
    if not values:
        raise LookupError(f"the picker's metrics page has no {_RESERVATIONS.decode()}")
    return int(sum(values))


def finished(page: bytes) -> int:
    """Return how many requests a vLLM server has answered to the end, those that were aborted left out."""
    rows = series(page, _FINISHED)
    return int(sum(value for labels, value in rows if label(labels, b"finished_reason") != "abort"))


def durations(page: bytes, name: bytes) -> Durations | None:
    """Return the histogram *name*, its series added up; None when nothing was observed."""
    count = total(page, name + b"_count")
    if not count:
        return None
    below: defaultdict[float, float] = defaultdict(float)
    for labels, value in series(page, name + b"_bucket"):
        below[float(label(labels, b"le") or "inf")] += value
    return Durations(int(count), total(page, name + b"_sum") / count, _quantile(below, 0.99))


def _quantile(below: Mapping[float, float], quantile: float) -> float:
    """Return the bound that *quantile* of the observations are under, as Prometheus' `histogram_quantile`."""
    bounds = sorted(below)
    rank = quantile * below[bounds[-1]]
    lower, fewer = 0.0, 0.0
    for bound in bounds:
        if below[bound] >= rank:
            if math.isinf(bound):
                return math.inf
            return lower + (bound - lower) * (rank - fewer) / (below[bound] - fewer)
        lower, fewer = bound, below[bound]
    return math.inf
