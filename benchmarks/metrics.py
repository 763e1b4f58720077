"""The picker's metrics page: how long the event loop stands still while it is made, which is how long picks wait.

In the page: everything that a picker with the default policy shows. A pool of 1,000 endpoints that were all scraped and picked; then beside it as many
tenants as have names of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from benchmarks.picks import best, request_of, router_of
from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.outcomes.observed import RequestMetrics
from igw.outcomes.outcome import End, Outcome
from igw.parsing.usage import Usage
from igw.routing.observed import Picks, State
from igw.scraping.observed import collect
from igw.scraping.report import Report
from igw.scraping.scraper import ScrapeStatistics, Status
from igw.telemetry.exposition import page
from igw.telemetry.families import Families
from igw.telemetry.older import older
from igw.work.promises import Answer

_BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
_REPORT = Report(1.0, 2.0, 0.5, 400_000)
_DONE = Outcome(
    End.COMPLETE,
    200,
    ttft_seconds=0.2,
    duration_seconds=2.0,
    response_bytes=9_000,
    usage=Usage(500, 100, 250),
)


class _Scraped:
    """What a scraper says of endpoints that answer."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._endpoints = endpoints

    def statistics(self) -> ScrapeStatistics:
        return ScrapeStatistics(done=1_000_000, failed=7)

    def statuses(self) -> Iterator[Status]:
        for each in self._endpoints:
            yield Status(each.hostport, "vllm", "page", "H100", 0.123, _REPORT)


def rows() -> list[dict[str, Any]]:
    """Measure the page with one tenant, and with two thousand."""
    found = []
    for endpoints, tenants in ((16, 1), (1_000, 1), (1_000, 2_000)):
        families = filled(endpoints, tenants)
        text = page(families.registry)
        row = {"endpoints": endpoints, "tenants": tenants, "lines": text.count(b"\n"), "KB": len(text) / 1e3}
        row["page_ms"] = best(lambda f=families: page(f.registry), 3) / 1e3  # type: ignore[misc]
        families.registry.also(older)
        row["with_older_names_ms"] = best(lambda f=families: page(f.registry), 1) / 1e3  # type: ignore[misc]
        found.append(row)
    return found


def filled(size: int, tenants: int) -> Families:
    """Return the families of a picker over *size* endpoints that served *tenants*."""
    _, ledger, pools = router_of(size)
    (columns,) = pools.all()
    endpoints, families = columns.pool.endpoints, Families()
    requests = RequestMetrics(families)
    picks, request = Picks(families, requests), request_of(_BODY)
    promises = pools.promises_of(columns)
    promises.send(1, int(columns.slots[0]), 1_000, 1_000, 0.0)
    promises.end(1, 2.0, Answer(2.0, 100, 0.2))
    for number in range(max(size, tenants)):
        named = msgspec.structs.replace(
            request, fairness_id=f"tenant-{number % tenants}" if tenants > 1 else ""
        )
        decision = Decision(number + 2, named, (endpoints[number % size],), expected_ttft_seconds=0.2)
        picks.made(decision)
        requests(decision, _DONE)
    state = State(pools, pools._prefix, ledger, families.request_labels)
    families.collect_with(state.collect, collect(lambda: {"default/p": _Scraped(endpoints)}))  # type: ignore[dict-item]
    return families
