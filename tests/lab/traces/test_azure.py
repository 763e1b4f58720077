"""Azure's format: times and lengths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.lab.blocks import FRESH
from igw.lab.traces.catalogue import detect, workload

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


def test_a_row_is_a_session_of_one_turn(write: Callable[..., Path]) -> None:
    """The first request comes at 0, and no two share a block."""
    work = workload(write(HEADER, "2023-11-16 18:17:03.9799600,600,10", "2023-11-16 18:18:04.0000000,5,0"))
    first, second = work.sessions
    assert work.quantum_seconds == 0.0
    assert (first.start_seconds, second.start_seconds) == (0.0, pytest.approx(60.02004))
    assert first.turns[0].runs == ((FRESH, 2),)
    assert second.turns[0].runs == ((FRESH + 2, 1),)
    assert second.turns[0].output_tokens == 1


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("2023-11-16 18:17:02.0000000,1,1", "is before the one above .sort the file by time"),
        ("yesterday,1,1", "TIMESTAMP is 'yesterday'"),
        ("2023-11-16 18:17:05.0000000,-1,1", "ContextTokens is '-1'"),
        ("2023-11-16 18:17:05.0000000,1", "2 cells instead of 3"),
    ],
)
def test_a_bad_row_is_refused_with_its_number(write: Callable[..., Path], bad: str, problem: str) -> None:
    """The header is line 1."""
    with pytest.raises(ConfigError, match=f"line 3: .*{problem}"):
        workload(write(HEADER, "2023-11-16 18:17:03.0000000,1,1", bad))


@pytest.mark.parametrize(
    ("file", "requests", "prompt", "output"), [("conv", 9732, 1237, 221), ("code", 5544, 2025, 27)]
)
def test_the_published_parts_have_the_published_figures(
    traces: Path, file: str, requests: int, prompt: int, output: int
) -> None:
    """Requests and means."""
    path = traces / f"azure_{file}_2023_a.csv.gz"
    assert detect(path) == "azure"
    turns = list(workload(path).turns())
    assert len(turns) == requests
    assert round(sum(turn.prompt_tokens for turn in turns) / requests) == prompt
    assert round(sum(turn.output_tokens for turn in turns) / requests) == output
