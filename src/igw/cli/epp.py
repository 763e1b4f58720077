"""`igw epp`: the endpoint picker as one process, as a container would run it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igw.errors import ConfigError
from igw.telemetry import log

if TYPE_CHECKING:
    from igw.app import PickerSettings


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
    grpc_port: Annotated[
        int, typer.Option(help="ext_proc and access logs; 0 takes a free port.", min=0, max=65535)
    ] = 9002,
    grpc_health_port: Annotated[
        int, typer.Option(help="gRPC health; 0 takes a free port.", min=0, max=65535)
    ] = 9003,
    metrics_port: Annotated[
        int, typer.Option(help="Prometheus metrics over HTTP; 0 takes a free port.", min=0, max=65535)
    ] = 9090,
    refresh_metrics_interval: Annotated[
        float,
        typer.Option(
            help="Seconds between scrapes of an endpoint while requests come, at the shortest.", min=0.01
        ),
    ] = 0.05,
    max_body_bytes: Annotated[
        int, typer.Option(help="Larger request bodies get 413 when they pass through the picker.", min=1)
    ] = 64 << 20,
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

    from igw.app import PickerSettings

    log.configure(log_level)
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
        max_body_bytes=max_body_bytes,
        drain_seconds=drain_timeout,
    )
    try:
        uvloop.run(_run(settings))
    except ConfigError as error:
        sys.exit(f"igw epp: {error}")


async def _run(settings: PickerSettings) -> None:
    import msgspec

    from igw.app import Picker

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Picker(settings).running() as addresses:
        print(json.dumps({"ready": True, **msgspec.structs.asdict(addresses)}), flush=True)
        await stop.wait()
