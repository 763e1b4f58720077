"""Names and files become workloads, or errors that help."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import igw
from igw.errors import ConfigError
from igw.lab.blocks import size, started
from igw.lab.traces.catalogue import FORMATS, GENERATORS, detect, stream, workload

FILES = {
    "mooncake-small.jsonl": "mooncake",
    "mooncake_conversation_a.jsonl.gz": "mooncake",
    "azure_conv_2023_a.csv.gz": "azure",
    "azure_code_2023_a.csv.gz": "azure",
    "claude_code_sessions_a.jsonl.gz": "claude-code",
    "agent_sessions_a.jsonl.gz": "agent-sessions",
    "servegen_deepseek_r1.jsonl.gz": "servegen",
    "servegen_m_small_day2.jsonl.gz": "servegen",
    "arena_clients_a.csv": "arena",
}


def test_every_file_that_ships_is_recognised(traces: Path) -> None:
    """And there is one of every format."""
    there = {path.name for path in traces.iterdir() if path.is_file() and path.suffix not in (".md", ".txt")}
    assert {name: detect(traces / name) for name in there} == FILES
    assert set(FILES.values()) == set(FORMATS)


def test_every_file_that_ships_has_its_licence_beside_it(traces: Path) -> None:
    """And is in the table that says where it is from."""
    text = (traces / "README.md").read_text()
    assert all(f"`{name}`" in text for name in [*FILES, "targets/llmd_qwen3_32b_8x2h100.csv"])
    assert (traces / "LICENSE-Apache-2.0.txt").read_text().strip().startswith("Apache License")


@pytest.mark.parametrize("name", [*FILES, *GENERATORS])
def test_every_turn_of_every_source_can_be_run(traces: Path, name: str) -> None:
    """At least one token each way, an id for every started block, sessions in order of time."""
    source = name if name in GENERATORS else traces / name
    options = {"seconds": 60} if "servegen" in name else {}
    work = workload(source, options=options)
    assert work.sessions
    starts = [session.start_seconds for session in work.sessions]
    assert starts == sorted(starts)
    assert len({session.id for session in work.sessions}) == len(work.sessions)
    for turn in work.turns():
        assert turn.prompt_tokens >= 1
        assert turn.output_tokens >= 1
        assert size(turn.runs) == started(turn.prompt_tokens + turn.output_tokens, work.block_tokens)


def test_a_workload_is_called_as_its_file(traces: Path) -> None:
    """Without endings; a generator's as the generator."""
    assert workload(traces / "arena_clients_a.csv").name == "arena_clients_a"
    assert workload("synthetic").name == "synthetic"


def test_an_unknown_file_is_refused_with_the_formats(write: Callable[..., Path]) -> None:
    """By its first line."""
    with pytest.raises(
        ConfigError, match=r"line 2: begins like no known format \(known are mooncake, azure, .*; name one"
    ):
        detect(write("", '{"what": "ever"}'))


def test_a_format_can_be_named(write: Callable[..., Path]) -> None:
    """Then the file is read as such, and its lines are judged so."""
    path = write('{"what": "ever"}')
    with pytest.raises(ConfigError, match="line 1: Object missing required field `timestamp`"):
        workload(path, "mooncake")


@pytest.mark.parametrize(
    ("source", "format_name", "options", "problem"),
    [
        (
            "nowhere.jsonl",
            "",
            {},
            "trace nowhere.jsonl: there is no such file .generators .* shared-prefix, synthetic",
        ),
        ("synthetic", "azure", {}, "is made by a generator and has no format 'azure'"),
        ("synthetic", "", {"rte": 5}, "option 'rte' of synthetic: is not known .did you mean rate"),
        ("synthetic", "", {"rate": "fast"}, "options of synthetic: Expected `float`.*rate"),
        ("synthetic", "", {"rate": -1}, "options of synthetic: Expected `float` > 0"),
    ],
)
def test_what_cannot_be_made_is_refused(
    source: str, format_name: str, options: dict[str, object], problem: str
) -> None:
    """With what would be right."""
    with pytest.raises(ConfigError, match=problem):
        workload(source, format_name, options)


def test_an_unknown_format_or_option_of_a_file_is_refused(traces: Path) -> None:
    """With the nearest, or the sentence that there is none."""
    path = traces / "mooncake-small.jsonl"
    with pytest.raises(
        ConfigError, match=r"trace format 'moncake': is not known \(did you mean mooncake\?\)"
    ):
        workload(path, "moncake")
    with pytest.raises(ConfigError, match=r"option 'rate' of mooncake: is not known \(it has none\)"):
        workload(path, options={"rate": 3})


def test_texts_are_read_as_numbers() -> None:
    """As a command line gives them."""
    assert len(workload("synthetic", options={"rate": "2.5", "seed": "7"}).sessions) > 200


def test_a_stream_reads_no_more_than_is_taken(write: Callable[..., Path]) -> None:
    """What is wrong further on is not met."""
    good = '{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [0]}'
    assert next(stream(write(good, "broken"))).start_seconds == 0.0


def test_a_file_without_requests_is_refused(write: Callable[..., Path]) -> None:
    """Only a header."""
    with pytest.raises(ConfigError, match="there are no requests in it"):
        workload(write("t_s,client,prompt_tokens,output_tokens"))


def test_the_page_lists_every_format_and_option() -> None:
    """And every generator."""
    text = (Path(igw.__file__).parents[2] / "docs/traces.md").read_text()
    for name, kind in {**FORMATS, **GENERATORS}.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        options = re.findall(r"`([^`]+)`", row.split("|")[-2])
        assert options == [field.name for field in msgspec.structs.fields(kind)]  # type: ignore[type-var]
