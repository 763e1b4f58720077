"""Options made of the fields of a struct."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from typer import Typer
from typer.testing import CliRunner

from igw.cli.fields import dials, given, with_options
from igw.errors import ConfigError


class Pair(msgspec.Struct, frozen=True, rename="camel"):
    """A struct of a name and a path."""

    name: str
    long_path: str
    more: int = 0


class Inner(msgspec.Struct, frozen=True, rename="camel"):
    """A struct whose fields take its place."""

    how_many: int = 1


class Settings(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One field of each kind."""

    title: Annotated[str, msgspec.Meta(description="What it is called.", extra={"panel": "Looks"})]
    inner: Inner = Inner()
    ratio: Annotated[float, msgspec.Meta(extra={"flags": ["--share"]})] = 0.5
    strict: bool = False
    colour: Literal["red", "blue"] = "red"
    limit: int | None = None
    words: list[str] = []
    labels: dict[str, str] = {}
    pairs: list[Pair] = []
    config: Pair | None = None


OPTIONS = dials(Settings)


def run(*flags: str) -> Any:
    """What the fields are after these flags; the output of a command that fails."""
    found: list[dict[str, Any]] = []
    app = Typer()

    @app.command()
    @with_options(OPTIONS)
    def command(**values: Any) -> None:
        found.append(given(OPTIONS, values))

    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, flags)
    if isinstance(result.exception, ConfigError):
        return str(result.exception)
    return found[0] if found else result.output


def test_only_what_was_given_is_there() -> None:
    """Defaults stay the struct's business."""
    assert run() == {}


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (("--title", "x"), {"title": "x"}),
        (("--how-many", "3"), {"inner": {"howMany": 3}}),
        (("--ratio", "1"), {"ratio": 1.0}),
        (("--share", "0.25"), {"ratio": 0.25}),
        (("--strict",), {"strict": True}),
        (("--no-strict",), {"strict": False}),
        (("--colour", "blue"), {"colour": "blue"}),
        (("--limit", "7"), {"limit": 7}),
        (("--words", "a", "--words", "b"), {"words": ["a", "b"]}),
        (("--labels", "a=b", "--labels", "c=d=e"), {"labels": {"a": "b", "c": "d=e"}}),
        (("--pairs", "a=b"), {"pairs": [{"name": "a", "longPath": "b"}]}),
        (
            ("--pairs", '{"name": "a"}', "--pairs", '[{"name": "b"}]'),
            {"pairs": [{"name": "a"}, {"name": "b"}]},
        ),
        (("--config", '{"name": "a", "more": 2}'), {"config": {"name": "a", "more": 2}}),
    ],
)
def test_each_kind_of_field_has_its_way_of_being_written(
    flags: tuple[str, ...], fields: dict[str, Any]
) -> None:
    """Under the names of a file."""
    assert run(*flags) == fields


def test_a_struct_may_come_from_a_file(tmp_path: Path) -> None:
    """YAML or JSON, of one or of several."""
    one, several = tmp_path / "one.yaml", tmp_path / "several.yaml"
    one.write_text("name: a\nmore: 2")
    several.write_text("- name: a\n- name: b\n")
    assert run("--config", str(one)) == {"config": {"name": "a", "more": 2}}
    assert run("--pairs", str(several)) == {"pairs": [{"name": "a"}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--labels", "a"), "--labels: 'a' is not of the form key=value"),
        (("--pairs", "=b"), "--pairs: '=b' is not of the form key=value"),
        (("--config", "{"), "--config: not JSON"),
    ],
)
def test_a_flag_that_cannot_be_read_is_named(flags: tuple[str, ...], words: str) -> None:
    """With what it should be."""
    assert words in run(*flags)


def test_the_help_shows_text_panel_default_and_choices() -> None:
    """From the struct alone."""
    text = run("--help")
    for words in ("What it is called.", "Looks", "0.5", "blue|red", "NAME=LONGPATH|JSON|FILE"):
        assert words in text


def test_only_structs_have_fields() -> None:
    """A mistake of ours, found at once."""
    with pytest.raises(TypeError, match="is not a struct"):
        dials(int)  # type: ignore[arg-type]
