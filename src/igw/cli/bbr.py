"""`igw bbr`: the body-based router as one process, as a container would run it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from igw.cli.groups import Group, grouped
from igw.cli.log_flags import Logs
from igw.cli.serving import serve
from igw.cli.serving_flags import Serving
from igw.errors import ConfigError


class Bodies(Group, frozen=True):
    """What it does with bodies."""

    files: Annotated[
        list[Path] | None,
        typer.Option(
            "-f",
            "--file",
            help="Adapter maps, and pools to list the models of: files or directories. Watched.",
            metavar="PATH",
        ),
    ] = None
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A step of the chain, in order; repeatable. Unless given: model and base model to headers.",
            metavar="TYPE:NAME[:JSON]",
        ),
    ] = None
    streaming: Annotated[
        bool, typer.Option(help="How a gateway is taken to send bodies that does not say.")
    ] = True
    max_body_bytes: Annotated[int, typer.Option(help="Larger request bodies get 413.", min=1)] = 64 << 20


class BesidePicker(Serving, frozen=True):
    """Ports, TLS and the end."""

    grpc_port: Annotated[int, typer.Option(help="ext_proc; 0 takes a free port.", min=0, max=65535)] = 9004
    grpc_health_port: Annotated[
        int, typer.Option(help="gRPC health, never with TLS; 0 takes a free port.", min=0, max=65535)
    ] = 9005


@grouped
def bbr(bodies: Bodies, serving: BesidePicker, logs: Logs) -> None:
    """Tell the gateway which model a request's body asks for, before it chooses the route.

    Speaks Envoy's ext_proc on the gRPC port. `igw up` and `igw gateway` need none of it: there the picker does the same.

    Example: igw bbr -f examples/two-models/adapters.yaml --grpc-port 9004
    """
    try:
        logs.configure()
        serving.prepare_grpc()
        import uvloop

        from igw.payload.process import BodyRouterProcess, ProcessSettings

        settings = ProcessSettings(
            paths=tuple(bodies.files or ()),
            plugins=tuple(bodies.plugin or ()),
            streaming=bodies.streaming,
            bind_address=serving.bind_address,
            grpc_port=serving.grpc_port,
            health_port=serving.grpc_health_port,
            metrics_port=serving.metrics_port,
            tls=serving.tls(),
            max_body_bytes=bodies.max_body_bytes,
            shutdown_delay_seconds=serving.delay_seconds(in_cluster=False),
            drain_seconds=serving.drain_timeout,
        )
        uvloop.run(serve(lambda: BodyRouterProcess(settings).running()))
    except ConfigError as error:
        sys.exit(f"igw bbr: {error}")
