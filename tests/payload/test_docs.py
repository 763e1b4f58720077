"""`docs/bbr.md` against the code."""

from __future__ import annotations

import time

import msgspec
from prometheus_client import CollectorRegistry
from typer import Typer
from typer.main import get_command

from igw.cli.bbr import bbr
from igw.config.gateway_api import BY_BODY
from igw.payload.builtin import DEFAULT, TYPES, chain
from igw.payload.observed import Observer
from tests.test_docs import blocks, first_cells, page, sections

PARTS = sections(page("bbr.md"))


def test_every_flag_is_listed() -> None:
    """And none that is not there; those of upstream for the same are not listed."""
    app = Typer(add_completion=False)
    app.command()(bbr)
    own = [option for option in get_command(app).params if not getattr(option, "hidden", False)]
    flags = {flag for option in own for flag in [*option.opts, *option.secondary_opts]}
    assert flags - {"--help"} == first_cells(PARTS["Flags of `igw bbr`"])


def test_every_metric_is_listed() -> None:
    """By the names that the page has."""
    registry = CollectorRegistry()
    Observer(registry, time.perf_counter)
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()
    }
    assert names == first_cells(PARTS["Metrics"])


def test_every_plugin_is_listed_with_its_parameters() -> None:
    """And the default chain is the one that is shown."""
    text = PARTS["Plugins"]
    assert set(TYPES) == first_cells(text)
    for kind in TYPES.values():
        assert all(f"`{field.encode_name}`" in text for field in msgspec.structs.fields(kind))
    (shown,) = blocks(text, "text")
    written = [line.removeprefix("--plugin ").strip("'") for line in shown.splitlines()]
    assert chain(written) == DEFAULT


def test_every_value_of_the_annotation_is_listed() -> None:
    """With what it does."""
    assert set(BY_BODY) == first_cells(PARTS["With igw's own gateway"])
