"""What traffic showed, one way of picking beside another, as a table for a person. Measuring is in `check`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

import msgspec
from rich.table import Table

from igw.stack.drive import Answer
from igw.stack.pages import Durations


class Measured(msgspec.Struct, frozen=True):
    """One run of the traffic."""

    title: str
    answers: tuple[Answer, ...]
    per_server: tuple[int, ...]
    """Requests answered by each server, most first; empty when the servers do not count them."""
    processing: Durations | None
    scheduling: Durations | None
    reservations_left: int
    """Requests the picker still counted on a server when all were over."""
    settled_seconds: float
    """From the moment the client hung up until no reservation was left."""
    abandoned_error: str = ""

    @property
    def errors(self) -> list[str]:
        """Why requests got no answer."""
        return [a.error for a in self.answers if a.error] + [self.abandoned_error] * bool(
            self.abandoned_error
        )

    @property
    def wrong(self) -> list[str]:
        """What was wrong with answers."""
        return [a.wrong for a in self.answers if a.wrong]

    @property
    def passed(self) -> bool:
        """Whether every answer was right and nothing was left over."""
        return bool(self.answers) and not self.errors and not self.wrong and not self.reservations_left

    @property
    def first_token_seconds(self) -> list[float]:
        """Time to first token of the streamed answers, shortest first."""
        return sorted(a.ttft_seconds for a in self.answers if a.ttft_seconds is not None)

    @property
    def hit_ratio(self) -> float:
        """Prompt tokens that were in a server's cache, of all prompt tokens."""
        asked = sum(a.prompt_tokens for a in self.answers)
        return sum(a.cached_tokens for a in self.answers) / asked if asked else math.nan


def table(runs: Sequence[Measured]) -> Table:
    """Return *runs* side by side, a column each."""
    rows: list[tuple[str, Callable[[Measured], str]]] = [
        ("requests", lambda run: str(len(run.answers))),
        ("without an answer", lambda run: str(len(run.errors))),
        ("wrong answers", lambda run: str(len(run.wrong))),
        ("first token, mean", lambda run: _milliseconds(_mean(run.first_token_seconds))),
        ("first token, p99", lambda run: _milliseconds(_p99(run.first_token_seconds))),
        ("cached prompt tokens", lambda run: f"{run.hit_ratio:.1%}"),
        ("requests per server", lambda run: " ".join(map(str, run.per_server)) or "not counted"),
        ("in the picker, mean / p99", lambda run: _pair(run.processing)),
        ("the pick alone, mean / p99", lambda run: _pair(run.scheduling)),
        ("reservations left over", _left_over),
    ]
    shown = Table(title="the same requests, two ways to pick a server", title_justify="left")
    shown.add_column("", no_wrap=True)
    for run in runs:
        shown.add_column(run.title, justify="right", no_wrap=True)
    for name, cell in rows:
        shown.add_row(name, *(cell(run) for run in runs))
    return shown


def _left_over(run: Measured) -> str:
    return str(run.reservations_left) if run.reservations_left else f"0 after {run.settled_seconds:.2f} s"


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def _p99(ordered: Sequence[float]) -> float:
    """Return the nearest rank, which with fewer than a hundred values is the largest."""
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else math.nan


def _pair(durations: Durations | None) -> str:
    if durations is None:
        return "not measured"
    return f"{_milliseconds(durations.mean_seconds)} / {_milliseconds(durations.p99_seconds)}"


def _milliseconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "not measured"
    if math.isinf(seconds):
        return "off the scale"
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
