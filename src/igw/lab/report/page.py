"""A report as one HTML page that opens without a network: the tables, and plots one can zoom into.

The plots are plotly's (extra `lab`), whose script is written into the page.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from xxhash import xxh3_64_hexdigest

from igw.errors import ConfigError
from igw.lab.report.table import basis
from igw.lab.report.values import Comparison, PolicyResult, Report
from igw.lab.summary import Figure

_FIGURES: tuple[tuple[str, str, float, int], ...] = (
    ("TTFT mean s", "ttft.mean", 1, 3),
    ("TTFT p50 s", "ttft.p50", 1, 3),
    ("TTFT p90 s", "ttft.p90", 1, 3),
    ("TTFT p99 s", "ttft.p99", 1, 2),
    ("TPOT mean ms", "tpot.mean", 1e3, 1),
    ("TPOT p50 ms", "tpot.p50", 1e3, 1),
    ("TPOT p90 ms", "tpot.p90", 1e3, 1),
    ("TPOT p99 ms", "tpot.p99", 1e3, 1),
    ("E2E mean s", "e2e.mean", 1, 2),
    ("E2E p50 s", "e2e.p50", 1, 2),
    ("E2E p90 s", "e2e.p90", 1, 2),
    ("E2E p99 s", "e2e.p99", 1, 1),
    ("goodput %", "goodput", 100, 1),
    ("good requests/s", "good_per_second", 1, 2),
    ("hits %", "hit_ratio", 100, 1),
    ("output tokens/s", "output_tokens_per_second", 1, 0),
    ("held mean s", "held.mean", 1, 3),
    ("queued mean s", "queued.mean", 1, 3),
    ("queued p99 s", "queued.p99", 1, 2),
    ("spread of work", "work_spread", 1, 2),
    ("Jain", "jain", 1, 3),
    ("preemptions", "preemptions", 1, 0),
    ("rejected", "rejected", 1, 0),
    ("lost", "lost", 1, 0),
    ("unfinished", "unfinished", 1, 0),
)
_CURVES: tuple[tuple[str, str, float], ...] = (
    ("TTFT mean, s", "ttft.mean", 1),
    ("TTFT p99, s", "ttft.p99", 1),
    ("E2E mean, s", "e2e.mean", 1),
    ("output tokens/s", "output_tokens_per_second", 1),
    ("prefix hits, %", "hit_ratio", 100),
    ("goodput, %", "goodput", 100),
)
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#000000", "#7f3c8d", "#11a579",
)  # fmt: skip
"""The palette of Okabe and Ito, which stays readable for colour-blind eyes, and two more."""

_CONFIG = {"displaylogo": False, "displayModeBar": "hover", "responsive": True}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1a1a1a; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1.5rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #1a1a1a; } tbody tr:nth-child(odd) { background: #f6f6f6; }
td.best { font-weight: 700; color: #00704a; } tr.bound { color: #777; font-style: italic; } small { color: #777; }
.grid { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; }
.partial { color: #b00020; font-weight: 700; } p.basis { color: #555; max-width: 60rem; }
"""


def rendered(report: Report) -> str:
    """Return the page. Raises `ConfigError` where plotly is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ConfigError("--html", "plotly is not installed", "pip install 'igw[lab]'") from error
    parts = [part for comparison in report.comparisons for part in _comparison(comparison)]
    title = "igw replay" + (" (partial)" if report.partial else "")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head><body>\n"
        f"<h1>{title}</h1><p><small>igw {html.escape(report.version)}</small></p>\n"
        f"{_sweep(report.comparisons)}{''.join(parts)}</body></html>\n"
    )


def _comparison(comparison: Comparison) -> Iterable[str]:
    yield f"<h2>{html.escape(comparison.title)}</h2>\n"
    if comparison.partial:
        yield '<p class="partial">Stopped before its end: these figures are partial.</p>\n'
    yield f'<p class="basis">{html.escape(basis(comparison))}</p>\n'
    yield _table(comparison)
    yield "<h3>Time to first token</h3>\n"
    yield _plot(_distribution(comparison))
    yield "<h3>Requests at each server over time, first seed</h3>\n"
    # One scale of colours for all policies, or the eye would compare what is not comparable.
    most = max((max(row, default=0) for each in comparison.policies for row in each.load.requests), default=0)
    yield from (_plot(_load(result, comparison.servers, most)) for result in comparison.policies)


def _table(comparison: Comparison) -> str:
    rivals = [result for result in comparison.policies if not result.clairvoyant]
    head = "".join(f"<th>{html.escape(result.name)}</th>" for result in comparison.policies)
    rows = [
        f"<tr><td>{title}</td>"
        + "".join(_cell(result, name, scale, decimals, rivals) for result in comparison.policies)
        + "</tr>"
        for title, name, scale, decimals in _FIGURES
    ]
    for title, key, scale, decimals in (
        ("hits / infinite cache %", "hit_infinite", 100, 0),
        ("hits / pooled cache %", "hit_pooled", 100, 0),
        ("goodput / clairvoyant %", "goodput", 100, 1),
        ("clairvoyant TTFT / TTFT %", "ttft", 100, 1),
        ("clairvoyant E2E / E2E %", "e2e", 100, 1),
    ):
        values = (result.achieved.get(key) for result in comparison.policies)
        cells = "".join(f"<td>{'' if v is None else f'{v * scale:,.{decimals}f}'}</td>" for v in values)
        rows.append(f"<tr><td>{title}</td>{cells}</tr>")
    for title, key in (("TTFT regret s", "ttft_seconds"), ("E2E regret s", "e2e_seconds")):
        regrets = (result.regret.get(key) for result in comparison.policies)
        cells = "".join(f"<td>{'' if v is None else f'{v:+.3f}'}</td>" for v in regrets)
        rows.append(f"<tr><td>{title}</td>{cells}</tr>")
    return f'<div class="table"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>\n'


_MORE_IS_BETTER = frozenset({"goodput", "good_per_second", "hit_ratio", "output_tokens_per_second", "jain"})


def _cell(
    result: PolicyResult, name: str, scale: float, decimals: int, rivals: Sequence[PolicyResult]
) -> str:
    figure, means = result.figures[name], [rival.figures[name].mean for rival in rivals]
    best = max(means) if name in _MORE_IS_BETTER else min(means)
    mark = ' class="best"' if len(set(means)) > 1 and not result.clairvoyant and figure.mean == best else ""
    return f"<td{mark}>{_number(figure, scale, decimals, len(result.seeds))}</td>"


def _number(figure: Figure, scale: float, decimals: int, seeds: int) -> str:
    text = f"{figure.mean * scale:,.{decimals}f}"
    return f"{text} <small>±{figure.deviation * scale:,.{decimals}f}</small>" if seeds > 1 else text


def _distribution(comparison: Comparison) -> dict[str, Any]:
    shown = [result for result in comparison.policies if result.ttft_percentiles]
    return {
        "data": [
            {
                "x": list(result.ttft_percentiles),
                "y": list(range(1, 100)),
                "name": result.name,
                "mode": "lines",
                "line": {
                    "color": _COLOURS[index % len(_COLOURS)],
                    "dash": "dot" if result.clairvoyant else "solid",
                },
            }
            for index, result in enumerate(shown)
        ],
        "layout": {
            "height": 420,
            "xaxis": {"type": "log", "title": {"text": "seconds"}},
            "yaxis": {"title": {"text": "% of requests at or below"}, "range": [0, 100]},
        },
    }


def _load(result: PolicyResult, servers: Sequence[str], most: int) -> dict[str, Any]:
    load = result.load
    names = [
        f"{number} {servers[number]}" if number < len(servers) else str(number)
        for number in range(len(load.requests))
    ]
    return {
        "data": [
            {
                "type": "heatmap",
                "x": list(load.at_seconds),
                "y": names,
                "z": [list(row) for row in load.requests],
                "colorscale": "Viridis",
                "zmin": 0,
                "zmax": most,
                "colorbar": {"title": {"text": "requests"}},
            }
        ],
        "layout": {
            "height": 120 + 24 * max(1, len(names)),
            "title": {"text": html.escape(result.name)},
            "xaxis": {"title": {"text": "seconds"}},
            "yaxis": {"autorange": "reversed", "automargin": True},
            "margin": {"t": 40, "b": 40},
        },
    }


def _sweep(comparisons: Sequence[Comparison]) -> str:
    """Return curves over the rate, where one workload was replayed at several."""
    rates = sorted({comparison.rate for comparison in comparisons})
    if len(rates) < 2:
        return ""
    names = list(dict.fromkeys(result.name for each in comparisons for result in each.policies))
    plots = []
    for title, figure, scale in _CURVES:
        lines = []
        for index, name in enumerate(names):
            points = [
                (each.rate, result.figures[figure])
                for each in sorted(comparisons, key=lambda each: each.rate)
                for result in each.policies
                if result.name == name
            ]
            lines.append(
                {
                    "x": [rate for rate, _ in points],
                    "y": [value.mean * scale for _, value in points],
                    "error_y": {"type": "data", "array": [value.deviation * scale for _, value in points]},
                    "name": name,
                    "mode": "lines+markers",
                    "line": {"color": _COLOURS[index % len(_COLOURS)]},
                }
            )
        layout = {
            "height": 360,
            "xaxis": {"title": {"text": "factor on the rate of the trace"}},
            "yaxis": {"title": {"text": title}},
        }
        plots.append(_plot({"data": lines, "layout": layout}))
    return f'<h2>Over the rate</h2>\n<div class="grid">{"".join(plots)}</div>\n'


def _plot(figure: dict[str, Any]) -> str:
    from plotly.io import to_html

    figure["layout"] = {
        "template": "simple_white",
        "hovermode": "closest",
        "margin": {"t": 30},
    } | figure["layout"]
    # plotly draws an id at random, and the same runs shall give the same bytes.
    identity = f"plot-{xxh3_64_hexdigest(msgspec.json.encode(figure))}"
    return (
        str(to_html(figure, config=_CONFIG, include_plotlyjs=False, full_html=False, div_id=identity)) + "\n"
    )


def _digest(figure: dict[str, Any]) -> str:
    import msgspec
    from xxhash import xxh3_64_hexdigest

    return xxh3_64_hexdigest(msgspec.json.encode(figure))
