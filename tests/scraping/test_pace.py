"""How often an endpoint is asked."""

from __future__ import annotations

import pytest

from igw.scraping.pace import IDLE_SECONDS, SCRAPES_PER_SECOND, pause_seconds


@pytest.mark.parametrize(
    ("endpoints", "picks_per_second", "expected"),
    [
        (8, 0.0, IDLE_SECONDS),
        (8, 1.0, IDLE_SECONDS),
        (8, 32.0, 0.5),
        (8, 100_000.0, 8 / SCRAPES_PER_SECOND),
        (2, 100_000.0, 0.05),
        (1000, 0.0, 10.0),
    ],
)
def test_the_pause_follows_need_within_bounds(
    endpoints: int, picks_per_second: float, expected: float
) -> None:
    """Never shorter than the interval, never more scrapes in all than the budget."""
    assert pause_seconds(endpoints, picks_per_second, 0.05) == expected


def test_an_endpoint_in_doubt_is_asked_again_at_once() -> None:
    """The budget still holds."""
    assert pause_seconds(2, 0.0, 0.05, doubtful=True) == 0.05
    assert pause_seconds(1000, 0.0, 0.05, doubtful=True) == 10.0


@pytest.mark.parametrize(("took", "expected"), [(0.001, 0.05), (0.1, 0.4), (0.5, 2.0), (2.0, 5.0)])
def test_a_server_gets_four_times_as_long_for_itself_as_it_took_for_its_page(
    took: float, expected: float
) -> None:
    """With an end: it is not lost from sight."""
    assert pause_seconds(2, 100_000.0, 0.05, took_seconds=took) == expected
    assert pause_seconds(2, 100_000.0, 0.05, doubtful=True, took_seconds=took) == 0.05
