"""`igw top`: what happens now, in a terminal, as the picker's dashboard has it. How it looks is `igw.dashboard.terminal`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from igw.cli.asking import DEFAULT_URL, TokenFile, Url, asked, opened

_LISTED = 10
_WIDTH = 160
"""Of what is no terminal."""
_EVENT = b"data: "


def top(
    url: Url = DEFAULT_URL,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    token_file: TokenFile = None,
) -> None:
    """Show what happens now: traffic, pools and their servers, queues, the latest decisions. Ctrl-C ends it.

    Example: igw top --once
    """
    import msgspec
    from rich.console import Console, RenderableType
    from rich.live import Live

    from igw.dashboard import terminal
    from igw.dashboard.dashboard import EVENTS, PATH
    from igw.dashboard.overview import Overview
    from igw.explaining.pages import PATH as DECISIONS
    from igw.explaining.pages import Listed

    base = url.rstrip("/")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)

    def shown(said: bytes) -> RenderableType:
        overview = msgspec.json.decode(said, type=Overview)
        listed = asked("top", f"{base}{DECISIONS}?limit={_LISTED}", token_file)
        decisions = msgspec.json.decode(listed, type=Listed).decisions
        height = None if once else console.height
        return terminal.overview(overview, decisions, height)

    if once:
        console.print(shown(asked("top", base + PATH, token_file)))
        return
    try:
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            for said in _events(base + EVENTS, token_file):
                live.update(shown(said), refresh=True)
    except KeyboardInterrupt:
        return
    sys.exit(f"igw top: the picker at {base} has stopped")


def _events(url: str, token_file: Path | None) -> Iterator[bytes]:
    """Yield what the picker says, once a second, until it stops."""
    with opened("top", url, token_file) as answer:
        try:
            for line in answer:
                if line.startswith(_EVENT):
                    yield line.removeprefix(_EVENT)
        except OSError:
            return
