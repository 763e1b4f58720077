"""Flags in groups, and Go's way to write switches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from igw.cli.groups import Command, Group, grouped


class Ports(Group, frozen=True):
    """Where it listens.

    Not in the heading.
    """

    port: Annotated[int, typer.Option(help="A port.", min=0)] = 1
    folder: Annotated[Path | None, typer.Option("--path", help="A folder.")] = None


class Other(Ports, frozen=True):
    """Others."""

    port: Annotated[int, typer.Option(help="Another.")] = 2


class Switches(Group, frozen=True):
    """What is on."""

    secure: Annotated[bool | None, typer.Option(help="Or not.")] = None
    loud: Annotated[bool, typer.Option("--loud", help="Only on.")] = False


def said(*arguments: str, kind: type[Ports] = Ports) -> Any:
    """Return what a command is given, or how it refuses."""
    given: list[Any] = []

    def command(ports: Ports, switches: Switches) -> None:
        given.extend((ports, switches))

    command.__annotations__ |= {"ports": kind, "switches": Switches}
    app = typer.Typer(add_completion=False)
    app.command(cls=Command)(grouped(command))
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    return given or result.output


def test_each_field_is_a_flag_and_the_groups_come_back() -> None:
    """With their defaults, and by the names that fields choose."""
    assert said() == [Ports(), Switches()]
    assert said("--port", "8", "--path", "/x", "--secure") == [Ports(8, Path("/x")), Switches(secure=True)]
    assert "Invalid value for '--port'" in said("--port", "-1")


def test_a_group_may_be_another_with_other_defaults() -> None:
    """As two commands have the same ports, but by number."""
    assert said("--path", "/x", kind=Other) == [Other(port=2, folder=Path("/x")), Switches()]


def test_help_heads_flags_by_group() -> None:
    """By the first line of its docstring."""
    page = said("--help")
    assert "Where it listens ─" in page
    assert "Not in the heading" not in page


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["--secure=true"], Switches(secure=True)),
        (["--secure=False"], Switches(secure=False)),
        (["--secure=0", "--loud=t"], Switches(secure=False, loud=True)),
        (["--no-secure"], Switches(secure=False)),
        (["--loud", "--loud=false"], Switches(loud=True)),
    ],
)
def test_switches_may_be_written_as_in_go(written: list[str], meant: Switches) -> None:
    """One that can only be turned on is as if it were not there when it is false."""
    assert said(*written) == [Ports(), meant]


def test_a_switch_that_is_neither_true_nor_false_is_refused() -> None:
    """By name. Flags with values are left alone, and so is what comes after two dashes."""
    assert "Invalid value for '--secure': `maybe` is neither true nor false" in said("--secure=maybe")
    assert said("--path=true") == [Ports(folder=Path("true")), Switches()]
    assert "--loud=false" in said("--", "--loud=false")
