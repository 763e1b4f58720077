"""Flags on how model servers are asked for their metrics pages: names and words only. What they mean is `igw.scraping.access`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_FLAG = "--model-server-metrics-"

Scheme = Annotated[
    str, typer.Option(f"{_FLAG}scheme", help="http or https: how engines are asked for metrics.")
]
PagePath = Annotated[str, typer.Option(f"{_FLAG}path", help="Where their metrics are.")]
Port = Annotated[
    int, typer.Option(f"{_FLAG}port", help="Which port; 0: where an endpoint serves.", min=0, max=65535)
]
SkipVerify = Annotated[
    bool, typer.Option(f"{_FLAG}https-insecure-skip-verify", help="Believe any certificate of theirs.")
]
CaFile = Annotated[
    Path | None, typer.Option(f"{_FLAG}ca-file", help="Who signs them, PEM; else whom this machine trusts.")
]
CertFile = Annotated[Path | None, typer.Option(f"{_FLAG}cert-file", help="Our certificate for them, PEM.")]
KeyFile = Annotated[Path | None, typer.Option(f"{_FLAG}key-file", help="And its key, PEM.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(f"{_FLAG}token-file", help="A bearer token to show them; read again when it changes."),
]
Interval = Annotated[
    float,
    typer.Option(
        help="Seconds between scrapes of an endpoint while requests come, at the shortest.", min=0.01
    ),
]
