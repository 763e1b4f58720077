"""What counts as passed, and the table."""

from __future__ import annotations

import math
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from igw.stack.comparison import Measured, table
from igw.stack.drive import Answer
from igw.stack.pages import Durations

RIGHT = Answer(
    streamed=True, text="x", ttft_seconds=0.2, prompt_tokens=100, cached_tokens=25, completion_tokens=1
)
RUN = Measured(
    title="ours",
    answers=(RIGHT, msgspec.structs.replace(RIGHT, ttft_seconds=0.1, cached_tokens=75)),
    per_server=(2, 0),
    processing=Durations(2, 0.0004, 0.0011),
    scheduling=None,
    reservations_left=0,
    settled_seconds=0.07,
)


def test_right_answers_and_nothing_left_over_pass() -> None:
    """The good case."""
    assert RUN.passed
    assert RUN.hit_ratio == 0.5
    assert RUN.first_token_seconds == [0.1, 0.2]


@pytest.mark.parametrize(
    "change",
    [
        {"answers": ()},
        {"answers": (RIGHT, msgspec.structs.replace(RIGHT, wrong="the answer is empty"))},
        {"answers": (RIGHT, Answer(streamed=False, error="no"))},
        {"reservations_left": 1},
        {"abandoned_error": "no stream"},
    ],
)
def test_anything_amiss_does_not_pass(change: dict[str, object]) -> None:
    """One wrong answer, one error, one reservation left, or no answer at all."""
    assert not msgspec.structs.replace(RUN, **change).passed


def test_the_table_shows_runs_side_by_side_and_says_what_was_not_measured() -> None:
    """One column a run."""
    page = StringIO()
    empty = Measured("theirs", (), (), None, Durations(1, 0.2, math.inf), 3, 5.0)
    Console(file=page, width=80).print(table([RUN, empty]))
    text = page.getvalue()
    rows = {
        line.split("│")[1].strip(): [c.strip() for c in line.split("│")[2:4]]
        for line in text.splitlines()
        if "│" in line
    }
    assert rows["first token, mean"] == ["150 ms", "not measured"]
    assert rows["first token, p99"] == ["200 ms", "not measured"]
    assert rows["requests per server"] == ["2 0", "not counted"]
    assert rows["in the picker, mean / p99"] == ["0.40 ms / 1.10 ms", "not measured"]
    assert rows["the pick alone, mean / p99"] == ["not measured", "200 ms / off the scale"]
    assert rows["reservations left over"] == ["0 after 0.07 s", "3"]
