"""`igw epp`: the endpoint picker as one process, as a container would run it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from igw.cli import page_flags
from igw.cli.serving import serve
from igw.errors import ConfigError
from igw.telemetry import log

_Grpc = Annotated[int, typer.Option(help="ext_proc and access logs; 0 takes a free port.", min=0, max=65535)]
_Health = Annotated[int, typer.Option(help="gRPC health; 0 takes a free port.", min=0, max=65535)]
_Metrics = Annotated[
    int, typer.Option(help="Prometheus metrics over HTTP; 0 takes a free port.", min=0, max=65535)
]
_Depth = Annotated[
    int, typer.Option(help="JSON bodies nested deeper get 400; 0: what the decoder bears, near 1,000.", min=0)
]
_Keys = Annotated[int, typer.Option(help="JSON bodies with more keys get 400; 0: any number.", min=0)]
_Media = Annotated[
    int, typer.Option(help="Requests with more images, videos, sounds and documents get 400.", min=0)
]
_Scores = Annotated[
    bool,
    typer.Option(
        "--emit-endpoint-scores", help="Tell the scores of all candidates with a pick, in metadata."
    ),
]
_PlainText = Annotated[
    bool,
    typer.Option("--plain-text-errors", help="Write errors as upstream's picker does, as a line of text."),
]
_FailOpen = Annotated[
    bool,
    typer.Option(
        "--fail-open-on-faults",
        help="Let requests that a fault hits go by the pool's failure mode; else 500.",
    ),
]


def epp(  # noqa: PLR0913, PLR0917 - one parameter per flag
    files: Annotated[
        list[Path],
        typer.Option("-f", "--file", help="Manifests: files or directories. Watched.", metavar="PATH"),
    ],
    config_file: Annotated[
        Path | None, typer.Option("--config-file", help="EndpointPickerConfig; wins over one in -f. Watched.")
    ] = None,
    config_text: Annotated[str, typer.Option(help="The same as text; wins over --config-file.")] = "",
    allow_experimental_plugins: Annotated[
        bool, typer.Option("--allow-experimental-plugins", help="Allow plugins that upstream calls Alpha.")
    ] = False,
    pool_name: Annotated[str, typer.Option(help="The pool of gateways that name none.")] = "",
    pool_namespace: Annotated[str, typer.Option(envvar="NAMESPACE", help="Its namespace.")] = "default",
    bind_address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: _Grpc = 9002,
    grpc_health_port: _Health = 9003,
    metrics_port: _Metrics = 9090,
    refresh_metrics_interval: page_flags.Interval = 0.05,
    metrics_scheme: page_flags.Scheme = "http",
    metrics_path: page_flags.PagePath = "/metrics",
    page_port: page_flags.Port = 0,
    skip_verify: page_flags.SkipVerify = False,
    ca_file: page_flags.CaFile = None,
    cert_file: page_flags.CertFile = None,
    key_file: page_flags.KeyFile = None,
    token_file: page_flags.TokenFile = None,
    max_body_bytes: Annotated[
        int, typer.Option(help="Larger request bodies get 413 when they pass through the picker.", min=1)
    ] = 64 << 20,
    max_json_depth: _Depth = 0,
    max_json_keys: _Keys = 0,
    max_media: _Media = 512,
    emit_endpoint_scores: _Scores = False,
    plain_text_errors: _PlainText = False,
    fail_open_on_faults: _FailOpen = False,
    drain_timeout: Annotated[
        float, typer.Option(help="Seconds that open exchanges get after SIGTERM.", min=0)
    ] = 30.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Decide, per request, which endpoint of a pool should run it.

    Speaks Envoy's ext_proc (Gateway API Inference Extension, protocol 004) on the gRPC port.

    Example: igw epp -f examples/quickstart --grpc-port 9002
    """
    # gRPC's newer listener hands every message over between threads once more (docs/decisions/0009).
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    import uvloop

    from igw.app import Picker, PickerSettings
    from igw.parsing.limits import Limits
    from igw.scraping.access import Access

    log.configure(log_level)
    whom = (ca_file, cert_file, key_file, token_file)
    access = Access(metrics_scheme, metrics_path, page_port, skip_verify, *whom)
    settings = PickerSettings(
        paths=tuple(files),
        config_file=config_file,
        config_text=config_text,
        allow_experimental=allow_experimental_plugins,
        bind_address=bind_address,
        grpc_port=grpc_port,
        health_port=grpc_health_port,
        metrics_port=metrics_port,
        pool=f"{pool_namespace}/{pool_name}" if pool_name else "",
        scrape_interval_seconds=refresh_metrics_interval,
        metrics_access=access,
        max_body_bytes=max_body_bytes,
        body_limits=Limits(max_json_depth, max_json_keys, max_media),
        emit_endpoint_scores=emit_endpoint_scores,
        plain_text_errors=plain_text_errors,
        fail_open_on_faults=fail_open_on_faults,
        drain_seconds=drain_timeout,
    )
    try:
        uvloop.run(serve(lambda: Picker(settings).running()))
    except ConfigError as error:
        sys.exit(f"igw epp: {error}")
