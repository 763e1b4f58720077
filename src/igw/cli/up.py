"""`igw up`: the whole gateway on one machine, and the check that sends real traffic through it.

The parts and their order are in `igw.stack`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from igw.cli.shadow_flags import Files, Share


def up(  # noqa: PLR0913, PLR0917 - one parameter per flag
    file: Annotated[
        list[Path],
        typer.Option("--file", "-f", help="Manifests: a file, or a folder of them. May be repeated."),
    ],
    picker_port: Annotated[
        int, typer.Option(help="gRPC port of the endpoint picker; 0 is any free one.")
    ] = 9002,
    health_port: Annotated[
        int, typer.Option(help="gRPC health port of the picker; 0 is any free one.")
    ] = 9003,
    metrics_port: Annotated[
        int, typer.Option(help="Port of the picker's metrics; 0 is any free one.")
    ] = 9090,
    dashboard_port: Annotated[int, typer.Option(help="Port of the dashboard; 0 is any free one.")] = 8081,
    admin_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Envoy's admin page; 0 is any free one.")
    ] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Envoy's worker threads.")] = 1,
    allow_experimental_plugins: Annotated[
        bool, typer.Option("--allow-experimental-plugins", help="Allow plugins that upstream calls Alpha.")
    ] = False,
    shadow_config_file: Files = None,
    shadow_share: Share = 0.1,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="On free ports: send real requests, compare with round robin, exit 0 or 1."
        ),
    ] = False,
) -> None:
    """Start model servers (if the manifests simulate any), the endpoint picker and Envoy; stop them on Ctrl-C.

    Example: igw up -f examples/quickstart

    Edits of the files are taken over while it runs. Everything listens on this machine only, unless a Gateway says
    otherwise.
    """
    import uvloop
    from rich.console import Console

    from igw.stack.report import Report
    from igw.stack.settings import Settings
    from igw.telemetry import log

    log.configure("info")
    # gRPC reads it at its first use. Our forks exec at once, and without this it remarks on every one of them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    report = Report(Console(), Console(stderr=True))
    settings = Settings(
        picker_port,
        health_port,
        metrics_port,
        dashboard_port,
        admin_port,
        concurrency,
        allow_experimental=allow_experimental_plugins,
        shadows=tuple(shadow_config_file or ()),
        shadow_share=shadow_share,
    )
    raise typer.Exit(uvloop.run((_check if check else _up)(tuple(file), settings, report)))


async def _up(paths: tuple[Path, ...], settings: Any, report: Any) -> int:
    from igw.stack.local import LocalStack

    stack = LocalStack(paths, settings, report)

    async def work() -> int:
        try:
            serving = await stack.start()
            report.ready(next(iter(serving.listeners.values())), serving.model)
            await stack.run(stack.follow_edits())
        finally:
            await stack.stop()
        return 0

    return await _until_told_to_stop(work(), stack.kill)


async def _check(paths: tuple[Path, ...], settings: Any, report: Any) -> int:
    from igw.stack.check import Check

    check = Check(paths, settings.concurrency, report)

    async def work() -> int:
        runs = await check.run()
        report.compared(runs)
        return 0 if all(run.passed for run in runs) else 1

    return await _until_told_to_stop(work(), check.kill)


async def _until_told_to_stop(work: Coroutine[Any, Any, int], kill: Callable[[], None]) -> int:
    """Return the exit status of *work*. The first SIGINT, SIGTERM or SIGHUP ends it in good order, the second at once."""
    from igw.errors import ConfigError
    from igw.stack.supervisor import PartFailed

    task = asyncio.create_task(work)
    told = 0

    def stop() -> None:
        nonlocal told
        told += 1
        if told == 1:
            task.cancel()
        else:
            kill()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return 0 if told == 1 else 130
    except (ConfigError, PartFailed) as error:
        print(f"igw up: {error}", file=sys.stderr)
        return 1
