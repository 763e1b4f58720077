"""Claude Code's sessions: closed loop, growing prompts, agents alongside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.lab import blocks
from igw.lab.content import block_hashes
from igw.lab.traces.catalogue import detect, stream, workload
from igw.lab.traces.claude_code import GUESSED_TOKEN_SECONDS


def asked(t: float, prompt: int, output: int, *ids: list[int], think: float | None = 0.0) -> dict[str, Any]:
    """Return one request."""
    return {"t": t, "in": prompt, "out": output, "think": think, "ids": list(ids)}


def session(name: str, *requests: dict[str, Any], tools: int = 0, system: int = 0) -> dict[str, Any]:
    """Return one line."""
    return {
        "session": name,
        "block": 64,
        "tool_tokens": tools,
        "system_tokens": system,
        "requests": list(requests),
    }


def test_a_generated_answer_is_found_in_the_next_prompt(write: Callable[..., Path]) -> None:
    """Its full blocks have the next prompt's ids where that goes on from this one."""
    path = write(session("a", asked(0, 130, 70, [1, 2]), asked(9, 300, 10, [1, 4], think=4.0)))
    first, second = next(stream(path)).turns
    one, two = (block_hashes(turn, 64, 64) for turn in (first, second))
    assert len(one) == 3  # 200 tokens
    assert one == two[:3]
    assert second.think_seconds == 4.0


def test_an_answer_that_was_left_out_is_not_found_again(write: Callable[..., Path]) -> None:
    """The next prompt begins differently before the end of this one."""
    path = write(session("a", asked(0, 130, 70, [1, 2]), asked(9, 300, 10, [1, 1], [8, 3])))
    first, second = next(stream(path)).turns
    one, two = (block_hashes(turn, 64, 64) for turn in (first, second))
    assert one[0] == two[0]
    assert not set(one[1:]) & set(two)


def test_every_started_block_has_an_id(write: Callable[..., Path]) -> None:
    """Of prompt and answer."""
    path = write(session("a", asked(0, 130, 1000, [1, 2]), asked(9, 300, 0, [1, 4])))
    for turn in workload(path).turns():
        assert blocks.size(turn.runs) == blocks.started(turn.prompt_tokens + turn.output_tokens, 64)


def test_sessions_share_tools_and_system_prompt_of_equal_length(write: Callable[..., Path]) -> None:
    """And nothing else, though their ids are numbered alike."""
    lines = [
        session("a", asked(0, 320, 1, [1, 5]), tools=128, system=70),
        session("b", asked(0, 320, 1, [1, 5]), tools=128, system=70),
        session("c", asked(0, 320, 1, [1, 5]), tools=128, system=80),
    ]
    one, two, three = (block_hashes(t, 64, 64) for s in stream(write(*lines)) for t in s.turns)
    assert one[:3] == two[:3]
    assert not set(one[3:]) & set(two[3:])
    assert not set(three) & (set(one) | set(two))
    apart = stream(write(*lines), options={"share_prefixes": False})
    one, two, _ = (block_hashes(t, 64, 64) for s in apart for t in s.turns)
    assert not set(one) & set(two)


def test_the_shared_prefix_is_that_of_a_request_that_is_as_long(write: Callable[..., Path]) -> None:
    """A short first request, as for a title, does not hide it; its own blocks stay its own."""
    lines = [
        session("a", asked(0, 64, 1, [90, 1]), asked(1, 320, 1, [1, 5]), tools=128),
        session("b", asked(0, 320, 1, [1, 5]), tools=128),
    ]
    (title, long), (other,) = (s.turns for s in stream(write(*lines)))
    assert block_hashes(long, 64, 64)[:2] == block_hashes(other, 64, 64)[:2]
    assert not set(block_hashes(title, 64, 64)) & set(block_hashes(other, 64, 64))


def test_an_agent_starts_alongside_its_parent(write: Callable[..., Path]) -> None:
    """With the request sent before it, so many seconds later, as a session of its own that shares the parent's ids."""
    agent = {
        "t": 12.5,
        "subagent": "agent_1",
        "kind": "Explore",
        "ms": 1,
        "requests": [asked(0, 128, 5, [1, 2]), asked(3, 192, 5, [1, 3], think=1.0)],
    }
    path = write(
        session("a", asked(0, 128, 5, [1, 2]), asked(10, 128, 5, [1, 2]), agent, asked(20, 128, 5, [1, 2]))
    )
    (parent,) = workload(path).sessions
    assert [len(turn.spawns) for turn in parent.turns] == [0, 1, 0]
    (spawned,) = parent.turns[1].spawns
    assert (spawned.id, spawned.tenant, spawned.start_seconds) == ("a/agent_1", "a", 2.5)
    assert [turn.think_seconds for turn in spawned.turns] == [0.0, 1.0]
    assert block_hashes(spawned.turns[0], 64, 64) == block_hashes(parent.turns[0], 64, 64)
    assert len(list(workload(path).turns())) == 5


def test_a_pause_that_was_not_recorded_is_guessed(write: Callable[..., Path]) -> None:
    """The gap between the requests, less the answer's tokens at a usual pace."""
    path = write(session("a", asked(0, 64, 100, [1, 1]), asked(9, 64, 1, [1, 1], think=None)))
    assert next(stream(path)).turns[1].think_seconds == pytest.approx(9 - 100 * GUESSED_TOKEN_SECONDS)


def test_sessions_start_one_after_another(write: Callable[..., Path]) -> None:
    """The trace does not say when they did."""
    path = write(*(session(name, asked(0, 64, 1, [1, 1])) for name in "abc"))
    options = {"start_every_seconds": "2.5"}
    assert [each.start_seconds for each in stream(path, options=options)] == [0.0, 2.5, 5.0]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (
            session("b", asked(0, 64, 1, [1, 2])),
            r"requests\[0\]: 2 full blocks of 64 in a prompt of 64 tokens",
        ),
        (session("b"), "requests has no request"),
        (
            session("b", asked(0, 64, 1), {"t": 1, "subagent": "x", "requests": []}),
            r"requests\[1\].requests has no request",
        ),
        ({**session("b", asked(0, 64, 1)), "block": 16}, "blocks of 16 tokens .this format has blocks of 64"),
        (session("b", {"t": -1.0, "in": 1, "out": 1}), r"at `\$.requests\[0\].t`"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(
    write: Callable[..., Path], bad: dict[str, Any], problem: str
) -> None:
    """And where in the session it is."""
    with pytest.raises(ConfigError, match=f"line 2: .*{problem}"):
        workload(write(session("a", asked(0, 64, 1, [1, 1])), bad))


def test_the_published_part_has_the_published_figures(traces: Path) -> None:
    """Requests and means."""
    path = traces / "claude_code_sessions_a.jsonl.gz"
    assert detect(path) == "claude-code"
    work = workload(path)
    turns = list(work.turns())
    assert (len(work.sessions), len(turns)) == (337, 23_710)
    assert round(sum(turn.prompt_tokens for turn in turns) / len(turns)) == 114_516
    assert round(sum(turn.output_tokens for turn in turns) / len(turns)) == 441
    ids = {session.id for session in work.sessions}
    ids |= {each.id for session in work.sessions for turn in session.turns for each in turn.spawns}
    assert len(ids) == 337 + 25
