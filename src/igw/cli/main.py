"""`igw`: the commands, by name. What a command does is in the module of its name, imported only when it runs."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from igw.cli.groups import Command

COMMANDS = (
    "up",
    "epp",
    "gateway",
    "bbr",
    "sim",
    "replay",
    "check",
    "explain",
    "top",
    "convert",
    "crds",
    "manifests",
)
"""Each is a function of its name in the module of its name."""


class _Commands(TyperGroup):
    """Finds commands by name, so that a picker does not load a proxy's configuration and `--help` stays fast."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: Any, name: str) -> Any:
        if name not in COMMANDS:
            return None
        one = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        one.command(name, cls=Command)(getattr(importlib.import_module(f"igw.cli.{name}"), name))
        return get_command(one)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def igw() -> None:
    """An inference gateway: Envoy in front, an endpoint picker that decides, learns and explains."""
