"""Lines of a trace file, plain or packed, and errors that say which one."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from igw.errors import ConfigError
from igw.lab.traces.lines import Lines


class Pair(msgspec.Struct):
    """One line."""

    a: int


@pytest.mark.parametrize("packed", [False, True])
def test_lines_come_one_by_one(write: Callable[..., Path], packed: bool) -> None:
    """Empty ones are passed over and still counted; the first can be looked at before."""
    lines = Lines(write("one", "", "three", packed=packed))
    assert lines.first == "one"
    assert [(line, lines.number) for line in lines] == [("one", 1), ("three", 3)]


def test_a_file_is_read_as_far_as_it_is_needed(write: Callable[..., Path]) -> None:
    """What is wrong further on is not yet known."""
    values = Lines(write({"a": 1}, {"a": 2}, "broken")).objects(Pair)
    assert [next(values).a, next(values).a] == [1, 2]
    with pytest.raises(ConfigError, match=r"trace.jsonl, line 3: JSON is malformed"):
        next(values)


def test_a_line_of_another_shape_is_refused_with_its_number(write: Callable[..., Path]) -> None:
    """And what is wrong in it."""
    with pytest.raises(ConfigError, match=r"line 2: Expected `int`, got `str` - at `\$.a`"):
        list(Lines(write({"a": 1}, {"a": "x"})).objects(Pair))


def test_an_empty_file_is_refused(write: Callable[..., Path]) -> None:
    """There is nothing to recognise."""
    with pytest.raises(ConfigError, match="the file is empty"):
        Lines(write(""))


def test_a_packed_file_that_ends_too_early_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    """With the last line that could be read."""
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % (n * n * 7919) for n in range(20_000)))
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) // 2])
    lines = Lines(path)
    with pytest.raises(ConfigError, match=r"cannot be read after line \d{3,}: Compressed file ended"):
        list(lines)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """As any other file that cannot be read."""
    path = tmp_path / "noise"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read: 'utf-8' codec"):
        Lines(path)


def test_a_header_of_another_format_is_refused(write: Callable[..., Path]) -> None:
    """With the one that was expected."""
    with pytest.raises(ConfigError, match=r"line 1: the header is 'a,c' \(this format has 'a,b'\)"):
        list(Lines(write("a,c", "1,2")).cells(["a", "b"]))


def test_a_row_must_have_all_cells(write: Callable[..., Path]) -> None:
    """No more and no fewer."""
    with pytest.raises(ConfigError, match=r"line 3: 1 cells instead of 2 \(columns are a, b\)"):
        list(Lines(write("a,b", "1,2", "1")).cells(["a", "b"]))


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "²"])
def test_a_count_is_a_whole_number(write: Callable[..., Path], text: str) -> None:
    """Of at least 0."""
    with pytest.raises(ConfigError, match=r"tokens is .*\(a whole number of at least 0 is needed\)"):
        Lines(write("a")).whole(text, "tokens")


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "x"])
def test_a_time_is_a_number(write: Callable[..., Path], text: str) -> None:
    """Of at least 0, and not without end."""
    with pytest.raises(ConfigError, match=r"t is .*\(a number of at least 0 is needed\)"):
        Lines(write("a")).seconds(text, "t")
