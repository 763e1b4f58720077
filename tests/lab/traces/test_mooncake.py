"""Mooncake's format: one request a line, ids of started blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.lab.blocks import FRESH
from igw.lab.traces.catalogue import detect, workload


def row(at: float, prompt: int, output: int, *ids: int) -> dict[str, Any]:
    """Return one line."""
    return {"timestamp": at, "input_length": prompt, "output_length": output, "hash_ids": list(ids)}


def test_a_line_is_a_session_of_one_turn(write: Callable[..., Path]) -> None:
    """Ids become runs; the answer goes on in the partial last block and then in blocks of its own."""
    work = workload(write(row(0, 1024, 100, 0, 1), row(3000, 1030, 1000, 0, 1, 7)))
    first, second = work.sessions
    assert (work.block_tokens, work.quantum_seconds) == (512, 3.0)
    assert (first.start_seconds, second.start_seconds) == (0.0, 3.0)
    assert first.turns[0].runs == ((0, 2), (FRESH, 1))
    assert second.turns[0].runs == ((0, 2), (7, 1), (FRESH + 1, 1))


def test_an_answer_has_at_least_one_token(write: Callable[..., Path]) -> None:
    """A server cannot give none."""
    (turn,) = workload(write(row(0, 512, 0, 0))).turns()
    assert turn.output_tokens == 1
    assert turn.runs == ((0, 1), (FRESH, 1))


def test_the_format_is_recognised(write: Callable[..., Path]) -> None:
    """By its field."""
    assert detect(write(row(0, 1, 1, 0))) == "mooncake"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (row(5, 513, 1, 0), "1 hash_ids for 513 tokens .2 are needed, one per started block of 512"),
        (row(1, 1, 1, 0), "timestamp 1 comes after 5 .sort the file by time"),
        (row(9, 0, 1), "input_length"),
        (row(9, 1, 1, -4), "hash_ids"),
        ({"timestamp": 9}, "missing required field `input_length`"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(
    write: Callable[..., Path], bad: dict[str, Any], problem: str
) -> None:
    """And what would be right, where that is known."""
    with pytest.raises(ConfigError, match=f"line 2: .*{problem}"):
        workload(write(row(5, 1, 1, 0), bad))


def test_the_published_part_has_the_published_figures(traces: Path) -> None:
    """Requests, means, blocks."""
    work = workload(traces / "mooncake_conversation_a.jsonl.gz")
    turns = list(work.turns())
    assert len(turns) == 5719
    assert round(sum(turn.prompt_tokens for turn in turns) / len(turns)) == 12_870
    assert round(sum(turn.output_tokens for turn in turns) / len(turns)) == 346
    distinct = {first + n for t in turns for first, count in t.runs for n in range(count) if first < FRESH}
    assert len(distinct) == 96_534


def test_the_small_file_is_the_beginning_of_the_large_one(traces: Path) -> None:
    """Line by line."""
    small = workload(traces / "mooncake-small.jsonl")
    large = workload(traces / "mooncake_conversation_a.jsonl.gz")
    assert len(small.sessions) == 300
    assert [(s.start_seconds, s.turns[0].prompt_tokens) for s in small.sessions] == [
        (s.start_seconds, s.turns[0].prompt_tokens) for s in large.sessions[:300]
    ]
