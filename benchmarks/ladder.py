"""The published ladder of routing policies, made again in the lab: what it measured, what we get, and the ratio.

python -m benchmarks.ladder [SEEDS] writes the tables into docs/accuracy.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igw.lab import ladder
from igw.lab.jobs import Job, run_all
from igw.lab.ladder import Figures

_ROOT = Path(__file__).parent.parent
_TARGETS = _ROOT / "examples/traces/targets/llmd_qwen3_32b_8x2h100.csv"
_PAGE = _ROOT / "docs/accuracy.md"
_BEGIN, _END = "<!-- tables: python -m benchmarks.ladder -->", "<!-- end of tables -->"


def measured(seeds: int = 1) -> dict[tuple[str, float], Figures]:
    """Return our figures by the benchmark's policy and rate, means over *seeds* draws of the workload."""
    drawn = [ladder.scenario(seed=seed) for seed in range(seeds)]
    names = list(ladder.POLICIES)
    jobs = [
        Job(scenario, ladder.POLICIES[name], seed)
        for name in names
        for seed, (scenario, _) in enumerate(drawn)
    ]
    runs = iter(run_all(jobs))
    rows = {}
    for name in names:
        by_seed = [ladder.figures(next(runs), stages) for _, stages in drawn]
        for stage, several in zip(drawn[0][1], zip(*by_seed, strict=True), strict=True):
            rows[name, stage.rate] = ladder.mean(several)
    return rows


def rows() -> list[dict[str, Any]]:
    """Return one row per policy and stage: simulated figures and their ratios to the published ones."""
    published = ladder.published(_TARGETS)
    return [
        {
            "case": f"{policy} {rate:g}/s",
            "tokens_per_s": ours.output_tokens_per_second,
            "ratio": _ratio(ours.output_tokens_per_second, theirs.output_tokens_per_second),
            "ttft_ms": ours.ttft_mean * 1e3,
            "ttft_ratio": _ratio(ours.ttft_mean, theirs.ttft_mean),
            "itl_ms": ours.itl_mean * 1e3,
            "itl_ratio": _ratio(ours.itl_mean, theirs.itl_mean),
        }
        for (policy, rate), ours in measured().items()
        for theirs in (published[policy, rate],)
    ]


def tables(simulated: dict[tuple[str, float], Figures]) -> str:
    """Return one table per policy, in Markdown: simulated / published = ratio."""
    published = ladder.published(_TARGETS)
    parts = []
    for policy, ours in ladder.POLICIES.items():
        parts.append(f"### {policy} (here `{ours}`)\n")
        parts.append("| requests/s | output tokens/s | TTFT mean, s | TTFT p90, s | between tokens, ms |")
        parts.append("|--:|--:|--:|--:|--:|")
        for (name, rate), mine in simulated.items():
            if name == policy:
                parts.append(f"| {rate:g} | {_cells(mine, published[policy, rate])} |")
        parts.append("")
    return "\n".join(parts)


def write(text: str) -> None:
    """Put *text* between the marks of the page."""
    page = _PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    _PAGE.write_text(f"{head}{_BEGIN}\n\n{text}\n{_END}{tail}", encoding="utf-8")


def _cells(ours: Figures, theirs: Figures) -> str:
    pairs = (
        (ours.output_tokens_per_second, theirs.output_tokens_per_second, ",.0f"),
        (ours.ttft_mean, theirs.ttft_mean, ".2f"),
        (ours.ttft_p90, theirs.ttft_p90, ".2f"),
        (ours.itl_mean * 1e3, theirs.itl_mean * 1e3, ".0f"),
    )
    return " | ".join(f"{a:{form}} / {b:{form}} = **{a / b:.2f}**" for a, b, form in pairs)


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


def main(arguments: Sequence[str]) -> int:
    """Measure with so many seeds (3) and write the page."""
    write(tables(measured(int(arguments[0]) if arguments else 3)))
    print(f"written to {_PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
