"""Writing a page: labels, several engines, what is written again and what not."""

from __future__ import annotations

import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.families import Dialect, Family, Rank, Series, counter, gauge, histogram, of
from igw.simulator.metrics.histograms import Histograms
from igw.simulator.metrics.page import Page, written
from tests.simulator.metrics.pages import CONFIG, WALL_SECONDS, families, value

DIALECT = Dialect(
    families=(
        gauge("running", "Running.", of("running")),
        counter("tokens_total", "Tokens.", of("prompt_tokens")),
        Family("all", "gauge", "Of all engines.", (Series(of("running"), {"kind": "x"}),), whole=True),
        histogram("latency", "Latency.", "latency"),
    ),
    labels=lambda model, rank: {"model": model} | ({} if rank is None else {"rank": str(rank)}),
    ranks=True,
)


def test_engines_have_a_series_each_under_one_head() -> None:
    """And one for all of them where a family says so."""
    ranks = [Rank(CONFIG, Histograms(8192), number) for number in (0, 1)]
    ranks[1].histograms.latency.observe(0.4)
    text = Page(DIALECT, "m", ranks).render([Engine(CONFIG).statistics()] * 2, WALL_SECONDS).decode()
    assert text.count("# TYPE running gauge\n") == text.count("# TYPE latency histogram\n") == 1
    found = families(text)
    assert value(found, "running", rank="1") == 0
    assert [value(found, "latency_count", rank=rank) for rank in "01"] == [0, 1]
    assert found["all"].samples[0].labels == {"kind": "x", "model": "m"}


def test_what_an_engine_has_counted_since_is_on_the_next_page() -> None:
    """Text of histograms is kept only while nothing changes."""
    histograms = Histograms(8192)
    page = Page(DIALECT, "m", [Rank(CONFIG, histograms)])
    statistics = [Engine(CONFIG).statistics()]
    before = page.render(statistics, WALL_SECONDS)
    assert page.render(statistics, WALL_SECONDS) == before
    histograms.latency.observe(0.4)
    after = families(page.render(statistics, WALL_SECONDS).decode())
    assert value(after, "latency_bucket", le="0.3") == 0
    assert value(after, "latency_bucket", le="0.5") == 1
    assert value(after, "latency_sum") == 0.4


def test_a_dialect_without_a_label_for_ranks_has_one_engine() -> None:
    """Two could not be told apart."""
    ranks = [Rank(CONFIG, Histograms(8192), number) for number in (0, 1)]
    with pytest.raises(ValueError, match="no label for data-parallel ranks"):
        Page(DIALECT._replace(ranks=False), "m", ranks)


def test_label_values_are_escaped() -> None:
    """As the exposition format wants it."""
    assert written("x", {"b": 'a"b\\c\nd', "a": ""}) == 'x{a="",b="a\\"b\\\\c\\nd"} '
    assert written("x", {}) == "x "
