"""Several comparisons in one line per policy: geometric means of its durations relative to one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from rich import box
from rich.table import Table

from igw.lab.report.values import Comparison, PolicyResult

DURATIONS = {
    "TTFT": "ttft.mean", "TTFT p50": "ttft.p50", "TTFT p99": "ttft.p99", "E2E": "e2e.mean", "TPOT": "tpot.mean",
}  # fmt: skip


class Relative(msgspec.Struct, frozen=True):
    """One policy against the baseline, over all comparisons that have both."""

    name: str
    comparisons: int
    ratios: dict[str, float]
    """Geometric means of policy / baseline, by the names of `DURATIONS`."""
    worst_p99: float
    """The largest of its ratios of p99 TTFT."""
    goodput_points: float
    """Mean change of goodput, in percentage points."""


def relative(comparisons: Sequence[Comparison], baseline: str) -> list[Relative]:
    """Return a line for every policy that stands beside *baseline* in some comparison; none where nobody does."""
    names = dict.fromkeys(result.name for each in comparisons for result in each.policies)
    lines = []
    for name in names:
        pairs = [
            (results[name], results[baseline])
            for each in comparisons
            if {name, baseline} <= (results := {result.name: result for result in each.policies}).keys()
        ]
        if pairs:
            lines.append(_line(name, pairs))
    return lines


def table(lines: Sequence[Relative], baseline: str) -> Table:
    """Return the lines as a table for the screen."""
    title = (
        f"over {max(line.comparisons for line in lines)} scenarios, relative to {baseline} (geometric means)"
    )
    found = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("policy", no_wrap=True)
    for heading in (*DURATIONS, "worst p99", "goodput points"):
        found.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        ratios = (f"{line.ratios[name]:.3f}" for name in DURATIONS)
        found.add_row(line.name, *ratios, f"{line.worst_p99:.2f}", f"{line.goodput_points:+.1f}")
    return found


def _line(name: str, pairs: Sequence[tuple[PolicyResult, PolicyResult]]) -> Relative:
    def ratios(figure: str) -> list[float]:
        values = ((ours.figures[figure].mean, theirs.figures[figure].mean) for ours, theirs in pairs)
        return [our / their for our, their in values if our > 0 and their > 0]

    changes = [ours.figures["goodput"].mean - theirs.figures["goodput"].mean for ours, theirs in pairs]
    return Relative(
        name=name,
        comparisons=len(pairs),
        ratios={title: _geometric(ratios(figure)) for title, figure in DURATIONS.items()},
        worst_p99=max(ratios("ttft.p99"), default=math.nan),
        goodput_points=100 * sum(changes) / len(changes),
    )


def _geometric(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else math.nan
