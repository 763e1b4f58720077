"""`igw gateway`: Envoy, configured from manifests, as one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop

from igw.cli.serving import say_ready, stop_asked
from igw.config.manifests import Manifests, load
from igw.discovery.files import watch
from igw.errors import ConfigError
from igw.gateway.run import EnvoyExited, GatewayRunner
from igw.gateway.settings import GatewaySettings, PickerTls
from igw.gateway.xds import split_hostport
from igw.telemetry import log


def gateway(  # noqa: PLR0913, PLR0917 - one parameter per flag
    files: Annotated[
        list[Path],
        typer.Option("-f", "--file", help="Manifests: files or directories. Watched.", metavar="PATH"),
    ],
    picker: Annotated[
        str, typer.Option(help="The endpoint picker's gRPC address.", metavar="HOST:PORT")
    ] = "127.0.0.1:9002",
    body_router: Annotated[
        str,
        typer.Option(
            help="A body-based router of its own, as `igw bbr`; unless given the picker is asked.",
            metavar="HOST:PORT",
        ),
    ] = "",
    waiting_room: Annotated[
        str,
        typer.Option(
            help="The picker's waiting room, as it was told by `igw epp --waiting-room`.", metavar="IP:PORT"
        ),
    ] = "",
    picker_tls: Annotated[
        bool,
        typer.Option("--picker-tls", help="Speak TLS to the picker and to a body-based router of its own."),
    ] = False,
    picker_ca_file: Annotated[
        Path | None,
        typer.Option(help="Who signs their certificates, PEM; turns TLS on. Without any will do."),
    ] = None,
    picker_pings: Annotated[
        bool,
        typer.Option(
            help="Let requests go within seconds when the picker hangs. Its gRPC server must allow pings "
            "without data, as `igw epp` does."
        ),
    ] = True,
    admin_port: Annotated[
        int, typer.Option(help="Envoy's admin interface on 127.0.0.1; 0 takes a free port.", min=0, max=65535)
    ] = 0,
    concurrency: Annotated[int, typer.Option(help="Envoy's worker threads.", min=1)] = 1,
    max_request_body_bytes: Annotated[
        int, typer.Option(help="Larger request bodies get 413, unless their route streams.", min=1)
    ] = 33_554_432,
    health_path: Annotated[str, typer.Option(help="What model servers are asked every 2 s.")] = "/health",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve the Gateways and HTTPRoutes of the manifests with Envoy.

    When the listeners are bound, one JSON line on standard output lists their addresses. An edit that cannot be used
    is logged and changes nothing. SIGTERM or Ctrl-C ends it.

    Example: igw gateway -f examples/quickstart --picker 127.0.0.1:9002
    """
    log.configure(log_level)
    settings = GatewaySettings(
        picker=picker,
        body_router=body_router,
        waiting_room=waiting_room,
        picker_tls=PickerTls(picker_ca_file) if picker_tls or picker_ca_file else None,
        picker_pings=picker_pings,
        max_request_body_bytes=max_request_body_bytes,
        health_path=health_path,
        reuse_port=concurrency > 1,
    )
    try:
        _check_address("--picker", picker)
        for flag, address in (("--body-router", body_router), ("--waiting-room", waiting_room)):
            if address:
                _check_address(flag, address)
        manifests = load(files)
        runner = GatewayRunner(manifests, settings, admin_port=admin_port, concurrency=concurrency)
        uvloop.run(_serve(runner, manifests, files))
    except (ConfigError, EnvoyExited) as error:
        sys.exit(f"igw gateway: {error}")


def _check_address(flag: str, address: str) -> None:
    try:
        split_hostport(address)
    except ValueError as error:
        raise ConfigError(flag, str(error), "such as 127.0.0.1:9002") from None


async def _serve(runner: GatewayRunner, manifests: Manifests, files: list[Path]) -> None:
    """Serve until a signal or Envoy's own end, following the files."""
    stop = stop_asked()
    for ignored in manifests.ignored:
        structlog.get_logger().info("passed over", where=ignored.source, why=ignored.reason)
    async with runner:
        say_ready(listeners=dict(runner.addresses), admin=runner.admin_address)
        runner.exited.add_done_callback(lambda _: stop.set())
        await watch(files, runner.update, _refused, stop, known=manifests)
        if runner.exited.done():
            raise runner.death()


def _refused(error: ConfigError) -> None:
    structlog.get_logger().error("edit ignored", where=error.where, problem=error.problem, hint=error.hint)
