"""`igw explain`: why a request went where it went, as its picker tells."""

from __future__ import annotations

import sys
import urllib.parse
from functools import partial
from typing import Annotated

import typer

from igw.cli.asking import DEFAULT_URL, TokenFile, Url, asked

_LISTED = 10
_WIDTH = 2_000
"""Of what is no terminal: a line stays a line."""


def explain(
    id: Annotated[  # noqa: A002 (what it is called in `--help`)
        str, typer.Argument(help="Of a decision, or an x-request-id; the beginning of one will do.")
    ] = "",
    last: Annotated[bool, typer.Option("--last", help="The latest decision.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the picker says as it is.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Say why a request went to its endpoint: the candidates, what each would have cost, and what became of it.

    Without an id the latest decisions are listed.

    Example: igw explain --last
    """
    import time

    import msgspec
    from rich.console import Console

    from igw.explaining import table
    from igw.explaining.explanation import Explanation
    from igw.explaining.pages import PATH, Listed

    base, ask = url.rstrip("/") + PATH, partial(asked, "explain", token_file=token_file)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    if last:
        listed = msgspec.json.decode(ask(f"{base}?limit=1"), type=Listed)
        if not listed.decisions:
            sys.exit("igw explain: the picker has decided nothing lately; send a request, then ask again")
        id = listed.decisions[0].id  # noqa: A001
    said = ask(f"{base}/{urllib.parse.quote(id, safe='')}" if id else f"{base}?limit={_LISTED}")
    if as_json:
        print(said.decode())
    elif id:
        console.print(table.explanation(msgspec.json.decode(said, type=Explanation)))
    else:
        decisions = msgspec.json.decode(said, type=Listed).decisions
        console.print(table.lines(decisions, time.time_ns() / 1e9))
