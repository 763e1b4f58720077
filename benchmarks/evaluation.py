"""Reports of `igw replay --json` -> the tables of docs/policy.md, between its marks.

python -m benchmarks.evaluation REPORT.json... ; a scenario that is in several reports counts once, the last one given. With `holding`
before the reports it is the table of what waiting at the picker changes.
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
_HOLDING, _HOLDING_END = (
    "<!-- holding: python -m benchmarks.evaluation holding -->",
    "<!-- end of holding -->",
)
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


def _overload(result: PolicyResult) -> str:
    figures, seeds = result.figures, result.seeds
    text = f"{_seconds(result)} {100 * figures['goodput'].mean:.0f}"
    turned_away = sum(each.rejected for each in seeds) / sum(each.requests for each in seeds)
    return f"{text}; {100 * turned_away:.1f} %" if turned_away else text


def _shares(result: PolicyResult) -> str:
    return f"{100 * result.figures['hit_ratio'].mean:.1f} / {100 * result.figures['goodput'].mean:.0f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["--"] * len(heads), *rows)]


def main() -> None:
    """Write the tables into docs/policy.md."""
    holding = sys.argv[1:2] == ["holding"]
    found: dict[str, Comparison] = {}
    for path in sys.argv[1 + holding :]:
        report = msgspec.json.decode(Path(path).read_bytes(), type=Report)
        found |= {each.title: each for each in report.comparisons}
    if not found:
        sys.exit(__doc__)
    comparisons = list(found.values())
    if holding:
        names = list(dict.fromkeys(result.name for each in comparisons for result in each.policies))
        _write(_HOLDING, "\n".join(_each(comparisons, names, _overload)), _HOLDING_END)
    else:
        _write(_BEGIN, tables(comparisons), _END)


def _write(begin: str, text: str, end: str) -> None:
    before, _, rest = _PAGE.read_text().partition(begin)
    _PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
