"""A comparison as tables on the screen, one row per policy: how long, how well, how near the oracles. All figures are in JSON and on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from igw.lab.report.values import Comparison, PolicyResult

WIDTH = 106
"""Columns of text that the tables need."""


class _Column(NamedTuple):
    """A figure of every policy; `better` is -1 where less is better, 1 where more is, 0 where neither."""

    title: str
    figure: str
    scale: float = 1.0
    decimals: int = 2
    better: int = -1
    deviation: bool = False


_HOW_LONG = (
    _Column("TTFT s mean", "ttft.mean", decimals=3, deviation=True),
    _Column("p50", "ttft.p50", decimals=3),
    _Column("p90", "ttft.p90", decimals=3),
    _Column("p99", "ttft.p99", deviation=True),
    _Column("TPOT ms", "tpot.mean", 1e3, 1),
    _Column("E2E s mean", "e2e.mean", deviation=True),
    _Column("p99", "e2e.p99", decimals=1),
)
_HOW_WELL = (
    _Column("goodput %", "goodput", 100, 1, 1, deviation=True),
    _Column("hits %", "hit_ratio", 100, 1, 1, deviation=True),
    _Column("out tok/s", "output_tokens_per_second", decimals=0, better=1),
    _Column("queued s", "queued.mean", decimals=3),
    _Column("spread", "work_spread"),
    _Column("Jain", "jain", better=1),
)

_Ratio = tuple[str, Callable[[PolicyResult], float | None], str]

_ORACLES: tuple[_Ratio, ...] = (
    ("hits, infinite cache", lambda result: result.achieved.get("hit_infinite"), "{:.0%}"),
    ("hits, pooled cache", lambda result: result.achieved.get("hit_pooled"), "{:.0%}"),
    ("goodput", lambda result: result.achieved.get("goodput"), "{:.1%}"),
    ("TTFT regret s", lambda result: result.regret.get("ttft_seconds"), "{:+.3f}"),
    ("E2E regret s", lambda result: result.regret.get("e2e_seconds"), "{:+.2f}"),
)


def rendered(comparison: Comparison) -> RenderableType:
    """Return a heading, what the figures rest on, the tables, and which requests did not complete."""
    heading = Text(comparison.title, style="bold")
    if comparison.partial:
        heading.append("  PARTIAL: stopped before its end", style="bold red")
    return Group(
        heading,
        Text(basis(comparison), style="dim"),
        _table(comparison.policies, _HOW_LONG),
        _table(comparison.policies, _HOW_WELL),
        _against_oracles(comparison.policies),
        *_losses(comparison),
    )


def basis(comparison: Comparison) -> str:
    """Return in a few sentences what was asked of what."""
    c, limits = comparison, comparison.objectives
    wanted = ", ".join(
        f"{name} {limit:g} s"
        for name, limit in (
            ("TTFT", limits.ttft_seconds),
            ("TPOT", limits.tpot_seconds),
            ("E2E", limits.e2e_seconds),
        )
        if limit is not None
    )
    names = sorted(set(c.servers), key=c.servers.index)
    servers = ", ".join(f"{c.servers.count(name)} x {name}" for name in names)
    seeds = f"{len(c.seeds)} seeds, ± their standard deviation" if len(c.seeds) > 1 else f"seed {c.seeds[0]}"
    return (
        f"{c.requests:,} requests, in the mean {c.prompt_tokens_mean:,.0f} prompt and {c.output_tokens_mean:,.0f} output tokens. "
        f"{servers}. {seeds}. "
        f"{c.warmup[:1].upper()}{c.warmup[1:]}. Goodput: {wanted or 'any answer'}. "
        f"Hit oracles: {c.oracles.infinite:.1%} with an infinite cache, {c.oracles.pooled:.1%} with one pooled cache."
    )


def _table(results: Iterable[PolicyResult], columns: tuple[_Column, ...]) -> Table:
    """One row per policy; the clairvoyant ones, which know what no picker can, below a line."""
    rivals = [result for result in results if not result.clairvoyant]
    table = _empty("policy", (column.title for column in columns))
    for result in rivals:
        table.add_row(result.name, *(_cell(result, column, rivals) for column in columns))
    table.add_section()
    for result in results:
        if result.clairvoyant:
            table.add_row(result.name, *(_cell(result, column, ()) for column in columns), style="dim")
    return table


def _against_oracles(results: Iterable[PolicyResult]) -> Table:
    table = _empty("achieved/oracle", (title for title, _, _ in _ORACLES))
    for result in results:
        if not result.clairvoyant:
            values = ((value(result), form) for _, value, form in _ORACLES)
            table.add_row(result.name, *("-" if v is None else form.format(v) for v, form in values))
    return table


def _empty(first: str, titles: Iterable[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _cell(result: PolicyResult, column: _Column, rivals: Iterable[PolicyResult]) -> Text:
    figure = result.figures[column.figure]
    text = Text(_number(figure.mean * column.scale, column.decimals))
    if column.deviation and len(result.seeds) > 1:
        text.append(f"±{_number(figure.deviation * column.scale, column.decimals)}", style="dim")
    signed = [column.better * rival.figures[column.figure].mean for rival in rivals]
    if column.better and len(signed) > 1 and column.better * figure.mean == max(signed):
        text.stylize("bold green")
    return text


def _number(value: float, decimals: int) -> str:
    return f"{value:,.{decimals if value < 100 else max(0, decimals - 2)}f}"


def _losses(comparison: Comparison) -> list[RenderableType]:
    lines = []
    for result in comparison.policies:
        means = {name: result.figures[name].mean for name in ("rejected", "lost", "unfinished")}
        if told := ", ".join(f"{mean:,.4g} {name}" for name, mean in means.items() if mean):
            lines.append(
                f"{result.name}: {told} of {comparison.requests:,} requests, which no duration counts"
            )
    return [Text("\n".join(lines), style="yellow")] if lines else []
