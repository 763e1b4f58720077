"""What several pages of one endpoint say together."""

from __future__ import annotations

from igw.facts import Adapters
from igw.scraping.report import Report, together


def test_one_page_is_what_it_is() -> None:
    """The usual case costs nothing."""
    report = Report(1.0, 2.0, 0.5)
    assert together([report]) is report


def test_the_last_one_that_says_it_counts() -> None:
    """A page that does not say something takes nothing away."""
    engine = Report(1.0, 2.0, 0.5, kv_capacity_tokens=1000, adapters=Adapters(most=2), missing=("a",))
    exporter = Report(None, 3.0, None, scalars={"Heat": 61.5}, missing=("b",))
    both = Report(
        1.0,
        3.0,
        0.5,
        kv_capacity_tokens=1000,
        adapters=Adapters(most=2),
        scalars={"Heat": 61.5},
        missing=("a", "b"),
    )
    assert together([engine, exporter]) == both


def test_no_page_says_nothing() -> None:
    """All of them could not be had."""
    assert together([]) == Report(None, None, None)
    assert together([]).says_nothing
