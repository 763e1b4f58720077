"""`igw bbr`: the body-based router as one process, as a container would run it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from igw.cli.serving import serve
from igw.errors import ConfigError
from igw.telemetry import log


def bbr(  # noqa: PLR0913, PLR0917 - one parameter per flag
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--file",
            help="Adapter maps, and pools to list the models of: files or directories. Watched.",
            metavar="PATH",
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A step of the chain, in order; repeatable. Unless given: model and base model to headers.",
            metavar="TYPE:NAME[:JSON]",
        ),
    ] = None,
    streaming: Annotated[
        bool, typer.Option(help="How a gateway is taken to send bodies that does not say.")
    ] = True,
    bind_address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="ext_proc; 0 takes a free port.", min=0, max=65535)] = 9004,
    grpc_health_port: Annotated[
        int, typer.Option(help="gRPC health; 0 takes a free port.", min=0, max=65535)
    ] = 9005,
    metrics_port: Annotated[
        int, typer.Option(help="Prometheus metrics over HTTP; 0 takes a free port.", min=0, max=65535)
    ] = 9090,
    secure_serving: Annotated[
        bool, typer.Option(help="Serve ext_proc with TLS, by the certificate of --cert-path.")
    ] = False,
    cert_path: Annotated[
        Path | None, typer.Option(help="Folder with tls.crt and tls.key; turns --secure-serving on.")
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(help="Larger request bodies get 413.", min=1)] = 64 << 20,
    drain_timeout: Annotated[
        float, typer.Option(help="Seconds that open exchanges get after SIGTERM.", min=0)
    ] = 30.0,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Tell the gateway which model a request's body asks for, before it chooses the route.

    Speaks Envoy's ext_proc on the gRPC port. `igw up` and `igw gateway` need none of it: there the picker does the same.

    Example: igw bbr -f examples/two-models/adapters.yaml --grpc-port 9004
    """
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")  # docs/decisions/0009
    import uvloop

    from igw.payload.process import BodyRouterProcess, ProcessSettings

    log.configure(log_level)
    try:
        settings = ProcessSettings(
            paths=tuple(files or ()),
            plugins=tuple(plugin or ()),
            streaming=streaming,
            bind_address=bind_address,
            grpc_port=grpc_port,
            health_port=grpc_health_port,
            metrics_port=metrics_port,
            secure=secure_serving,
            cert_path=cert_path,
            max_body_bytes=max_body_bytes,
            drain_seconds=drain_timeout,
        )
        uvloop.run(serve(lambda: BodyRouterProcess(settings).running()))
    except ConfigError as error:
        sys.exit(f"igw bbr: {error}")
