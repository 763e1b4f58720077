"""Reports of `igw replay --json` -> the tables of docs/policy.md, between its marks.

python -m benchmarks.evaluation REPORT.json... ; a scenario that is in several reports counts once, the last one given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from igw.lab.report.relative import DURATIONS, relative
from igw.lab.report.values import Comparison, PolicyResult, Report

_PAGE = Path(__file__).parent.parent / "docs/policy.md"
_BEGIN, _END = "<!-- tables: python -m benchmarks.evaluation -->", "<!-- end of tables -->"
_BASELINE = "upstream-default"


def tables(comparisons: Sequence[Comparison]) -> str:
    """Return all tables as Markdown: ratios over all scenarios, then seconds, then hits and goodput of each."""
    names = list(dict.fromkeys(result.name for each in comparisons for result in each.policies))
    return "\n\n".join(
        "\n".join(rows)
        for rows in (
            _ratios(comparisons),
            ["Mean TTFT in seconds ± its deviation over the seeds (p99) [mean E2E]:"],
            _each(comparisons, names, _seconds),
            ["Hits in per cent of prompt tokens / goodput in per cent:"],
            _each(comparisons, names, _shares),
        )
    )


def _ratios(comparisons: Sequence[Comparison]) -> list[str]:
    lines = relative(comparisons, _BASELINE)
    hits = {line.name: _hits(comparisons, line.name) for line in lines}
    return _table(
        ("policy", *DURATIONS, "goodput points", "worst p99", "hits"),
        (
            (f"`{line.name}`", *(f"{line.ratios[name]:.2f}" for name in DURATIONS), f"{line.goodput_points:+.1f}",
             f"{line.worst_p99:.2f}", f"{100 * hits[line.name]:.0f} %")
            for line in lines
        ),
    )  # fmt: skip


def _hits(comparisons: Sequence[Comparison], name: str) -> float:
    """Return the mean share of what one pooled cache could have found, over the scenarios where there was anything to find."""
    shares = [
        result.achieved["hit_pooled"]
        for each in comparisons
        if each.oracles.pooled > 0.01
        for result in each.policies
        if result.name == name
    ]
    return sum(shares) / len(shares) if shares else 0.0


def _each(
    comparisons: Sequence[Comparison], names: Sequence[str], cell: Callable[[PolicyResult], str]
) -> list[str]:
    rows = []
    for each in comparisons:
        found = {result.name: result for result in each.policies}
        rows.append((each.title, *(cell(found[name]) if name in found else "" for name in names)))
    return _table(("scenario", *(f"`{name}`" for name in names)), rows)


def _seconds(result: PolicyResult) -> str:
    ttft, figures = result.figures["ttft.mean"], result.figures
    return f"{ttft.mean:.2f}±{ttft.deviation:.2f} ({figures['ttft.p99'].mean:.1f}) [{figures['e2e.mean'].mean:.1f}]"


def _shares(result: PolicyResult) -> str:
    return f"{100 * result.figures['hit_ratio'].mean:.1f} / {100 * result.figures['goodput'].mean:.0f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["--"] * len(heads), *rows)]


def main() -> None:
    """Write the tables into docs/policy.md."""
    found: dict[str, Comparison] = {}
    for path in sys.argv[1:]:
        report = msgspec.json.decode(Path(path).read_bytes(), type=Report)
        found |= {each.title: each for each in report.comparisons}
    if not found:
        sys.exit(__doc__)
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _PAGE.write_text(f"{before}{_BEGIN}\n\n{tables(list(found.values()))}\n\n{_END}{rest.partition(_END)[2]}")


if __name__ == "__main__":
    main()
