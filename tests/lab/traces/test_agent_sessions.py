"""Sessions of agent frameworks: ids over the whole file, pauses to be guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.lab.content import block_hashes
from igw.lab.traces.catalogue import detect, stream, workload


def session(name: str, *requests: tuple[float, int, int, list[list[int]]]) -> dict[str, Any]:
    """Return one line."""
    made = [{"t": t, "in": prompt, "out": output, "ids": ids} for t, prompt, output, ids in requests]
    return {"session": name, "kind": "coder", "block": 16, "requests": made}


def test_ids_are_shared_between_sessions(write: Callable[..., Path]) -> None:
    """As they are numbered."""
    path = write(session("a", (0, 40, 5, [[0, 2]])), session("b", (0, 40, 5, [[0, 1], [9, 1]])))
    (one,), (two,) = (each.turns for each in stream(path))
    assert block_hashes(one, 16, 16) == (0, 1)
    assert block_hashes(two, 16, 16) == (0, 9)


def test_a_pause_is_the_gap_less_a_guess_of_the_answer(write: Callable[..., Path]) -> None:
    """Never below 0."""
    path = write(session("a", (0, 16, 100, [[0, 1]]), (10, 16, 100, [[0, 1]]), (10.5, 16, 1, [[0, 1]])))
    options = {"answer_seconds": 1, "token_seconds": 0.02}
    (made,) = stream(path, options=options)
    assert [turn.think_seconds for turn in made.turns] == [0.0, pytest.approx(7.0), 0.0]
    assert made.tenant == "coder"


def test_a_prompt_without_text_has_one_token(write: Callable[..., Path]) -> None:
    """The trace has some whose text was not kept; a server cannot be asked nothing."""
    path = write(session("a", (0, 0, 5, [])))
    (turn,) = workload(path).turns()
    assert turn.prompt_tokens == 1


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (session("b", (0, 16, 1, [[0, 2]])), r"requests\[0\]: 2 full blocks of 16 in a prompt of 16 tokens"),
        (session("b", (5, 1, 1, []), (4, 1, 1, [])), r"requests\[1\]: t 4 comes after 5"),
        (session("b"), "length >= 1"),
        ({**session("b", (0, 1, 1, [])), "block": 64}, "blocks of 64 tokens"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(
    write: Callable[..., Path], bad: dict[str, Any], problem: str
) -> None:
    """And what is wrong."""
    with pytest.raises(ConfigError, match=f"line 2: .*{problem}"):
        workload(write(session("a", (0, 1, 1, [])), bad))


def test_the_published_part_has_the_published_figures(traces: Path) -> None:
    """Requests and means."""
    path = traces / "agent_sessions_a.jsonl.gz"
    assert detect(path) == "agent-sessions"
    work = workload(path)
    turns = list(work.turns())
    assert (len(work.sessions), len(turns)) == (23, 598)
    assert sum(turn.prompt_tokens for turn in turns) / len(turns) == pytest.approx(3855, abs=1)
    assert round(sum(turn.output_tokens for turn in turns) / len(turns)) == 381
