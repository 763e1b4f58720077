"""All dialects together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.dialects import DIALECTS, DialectName
from igw.simulator.metrics.families import Distribution, Rank
from igw.simulator.metrics.page import Page
from tests.simulator.metrics.pages import CONFIG, MODEL, WALL_SECONDS, distributions, one_request, page


def test_every_name_has_a_dialect_and_is_documented() -> None:
    """With the path of its page."""
    assert set(get_args(DialectName)) == set(DIALECTS)
    text = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| `(/[a-z/]+)` \|", text, re.MULTILINE))
    assert rows == {name: dialect.paths[0] for name, dialect in DIALECTS.items()}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_page_is_well_formed(name: DialectName) -> None:
    """Each family once, no series twice, buckets that rise."""
    dialect = DIALECTS[name]
    histograms = distributions(dialect)
    one_request(histograms)
    text = Page(dialect, MODEL, [Rank(CONFIG, histograms)])
    lines = text.render([Engine(CONFIG).statistics()], WALL_SECONDS).decode().splitlines()
    series = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert sum(line.startswith("# TYPE") for line in lines) == len(page(dialect))
    for family in dialect.families:
        if isinstance(family, Distribution):
            for attribute, _ in family.shown:
                bounds = getattr(histograms, attribute).bounds
                assert list(bounds) == sorted(set(bounds))
