"""Flags on how model servers are asked for their metrics pages: names and words only. What they mean is `igw.scraping.access`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from igw.cli.groups import Group
from igw.cli.spans import seconds

_FLAG = "--model-server-metrics-"


class Pages(Group, frozen=True):
    """Metrics of model servers."""

    interval: Annotated[
        float,
        typer.Option(
            "--refresh-metrics-interval",
            help="Between scrapes of an endpoint while requests come, at the shortest: seconds, or such as 50ms.",
            parser=seconds(least=0.01),
            metavar="DURATION",
        ),
    ] = 0.05
    scheme: Annotated[
        str, typer.Option(f"{_FLAG}scheme", help="http or https: how engines are asked for metrics.")
    ] = "http"
    path: Annotated[str, typer.Option(f"{_FLAG}path", help="Where their metrics are.")] = "/metrics"
    port: Annotated[
        int, typer.Option(f"{_FLAG}port", help="Which port; 0: where an endpoint serves.", min=0, max=65535)
    ] = 0
    skip_verify: Annotated[
        bool, typer.Option(f"{_FLAG}https-insecure-skip-verify", help="Believe any certificate of theirs.")
    ] = False
    ca_file: Annotated[
        Path | None,
        typer.Option(f"{_FLAG}ca-file", help="Who signs them, PEM; else whom this machine trusts."),
    ] = None
    cert_file: Annotated[
        Path | None, typer.Option(f"{_FLAG}cert-file", help="Our certificate for them, PEM.")
    ] = None
    key_file: Annotated[Path | None, typer.Option(f"{_FLAG}key-file", help="And its key, PEM.")] = None
    token_file: Annotated[
        Path | None,
        typer.Option(f"{_FLAG}token-file", help="A bearer token to show them; read again when it changes."),
    ] = None
