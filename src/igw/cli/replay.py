"""`igw replay`: traces against policies in virtual time. What its options mean is `igw.lab.options`; the lab is `igw.lab`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from igw.cli.fields import dials, given, with_options
from igw.errors import ConfigError
from igw.lab import catalogue
from igw.lab.options import Options, plan
from igw.lab.replay import Plan
from igw.lab.replay import replay as run
from igw.lab.report import page, relative, table
from igw.lab.report.values import Report
from igw.lab.suite import SUITES
from igw.lab.traces.catalogue import FORMATS, GENERATORS

OPTIONS = dials(Options)
"""One flag per field of `Options`."""

_REPORT = "Report"
_INTERRUPTED = 130


@with_options(OPTIONS)
def replay(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--file",
            help="Simulator objects to take as servers.",
            rich_help_panel="Servers and pickers",
        ),
    ] = None,
    html: Annotated[
        str,
        typer.Option(help="Where the page with plots is written; empty for none.", rich_help_panel=_REPORT),
    ] = "replay.html",
    json: Annotated[
        str, typer.Option(help="Where all figures are written as JSON.", rich_help_panel=_REPORT)
    ] = "",
    baseline: Annotated[
        str,
        typer.Option(
            help="With several scenarios: the policy the others are set in relation to.",
            rich_help_panel=_REPORT,
        ),
    ] = "upstream-default",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per CPU if not given.", rich_help_panel=_REPORT)
    ] = None,
    list_names: Annotated[
        bool,
        typer.Option(
            "--list", help="Show policies, formats, generators and suites, and end.", rich_help_panel=_REPORT
        ),
    ] = False,
    **flags: Any,
) -> None:
    """Replay a trace against policies on simulated servers, in virtual time, and say which is better.

    Routing, prefix index and schedulers are the product's own. A policy knows what a picker knows: metrics as old as a scrape,
    its own counters, outcomes as they come.

    Example: igw replay --trace examples/traces/mooncake-small.jsonl --policy round-robin,default --seeds 3

    Ctrl-C ends the runs under way and gives the report of what there is, marked as partial; the exit status is then 130.
    """
    if list_names:
        _print_names()
        return
    try:
        for path in (html, json):
            _check_folder(path)
        options = msgspec.convert(given(OPTIONS, flags), Options)
        what = plan(options, tuple(file or ()))
        out = _console()
        with _Bar(what) as progress:
            report = run(what, jobs, progress, lambda comparison: out.print(table.rendered(comparison)))
        _sum_up(report, baseline, out)
        _write(report, html, json)
    except msgspec.ValidationError as error:
        raise _failed(f"flags: {error}") from error
    except ConfigError as error:
        raise _failed(str(error)) from error
    if report.partial:
        raise typer.Exit(_INTERRUPTED)


def _failed(sentence: str) -> typer.Exit:
    print(f"igw replay: {sentence}", file=sys.stderr)
    return typer.Exit(1)


def _console() -> Console:
    out = Console()
    return out if out.width >= table.WIDTH else Console(width=table.WIDTH)


def _sum_up(report: Report, baseline: str, out: Console) -> None:
    if len(report.comparisons) > 1 and (lines := relative.relative(report.comparisons, baseline)):
        out.print(relative.table(lines, baseline))
    if report.partial:
        out.print("[bold red]Stopped before its end: this report is partial.[/]")


def _write(report: Report, html: str, json: str) -> None:
    if json:
        Path(json).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        print(f"wrote {json}")
    if html and report.comparisons:
        Path(html).write_text(page.rendered(report), encoding="utf-8")
        print(f"wrote {html}")


def _check_folder(path: str) -> None:
    """Refuse a path that cannot be written before an hour of work, not after it."""
    if path and not Path(path).absolute().parent.is_dir():
        raise ConfigError(path, "its folder does not exist")


class _Bar:
    """Progress of all runs together, on standard error; nothing where that is not a terminal."""

    def __init__(self, what: Plan) -> None:
        self._runs = len(what.cases) * what.runs_per_case
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("starting", total=self._runs)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str, done: float) -> None:
        """Note how many runs are done."""
        text = f"{int(done)}/{self._runs} runs, {name}"
        self._progress.update(self._task, completed=done, description=text)


def _print_names() -> None:
    for title, names in (
        ("policies", catalogue.names()),
        ("trace formats", FORMATS),
        ("generators", GENERATORS),
        ("suites", SUITES),
    ):
        print(f"{title}: {', '.join(names)}")
