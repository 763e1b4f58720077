"""How long to wait between two scrapes of an endpoint. Scraping itself is `scraper`; the lab scrapes by the same rule."""

from __future__ import annotations

SCRAPES_PER_SECOND = 100.0
"""Of one pool in all: what scraping may cost is bounded, however large the pool."""
PICKS_PER_SCRAPE = 2.0
"""Picks of the pool that one scrape must serve: scraping costs as much as half a pick does, so it should not be more frequent."""
IDLE_SECONDS = 1.0
REST = 4.0
"""A server that takes long for its page is left alone for so many times that long: scrapes take a fifth of its time at most."""
_LONGEST_REST_SECONDS = 5.0


def pause_seconds(
    endpoints: int,
    picks_per_second: float,
    interval_seconds: float,
    *,
    doubtful: bool = False,
    took_seconds: float = 0.0,
) -> float:
    """Return how long to wait before the next scrape of one of so many *endpoints*.

    As long as the pool takes for `PICKS_PER_SCRAPE` picks per endpoint; a second at most, at once where an endpoint is in
    doubt, and never so short that all endpoints together exceed the budget or that the server, whose last page took
    *took_seconds*, has little time for anything else.
    """
    needed = endpoints * PICKS_PER_SCRAPE / picks_per_second if picks_per_second else IDLE_SECONDS
    rest = min(REST * took_seconds, _LONGEST_REST_SECONDS)
    wanted = interval_seconds if doubtful else max(interval_seconds, min(needed, IDLE_SECONDS), rest)
    return max(wanted, endpoints / SCRAPES_PER_SECOND)
