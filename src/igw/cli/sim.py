"""`igw sim`: simulated model servers as a process of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop

from igw.cli.fields import dials, given, with_options
from igw.cli.serving import stop_asked
from igw.errors import ConfigError
from igw.simulator.fleet import running
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec, read

_DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"

OPTIONS = dials(SimulatorSpec)
"""One flag per field of a `Simulator`."""


@with_options(OPTIONS)
def sim(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "-f", "--file", help="Manifest file or directory; objects of kind Simulator are served."
        ),
    ] = None,
    **flags: Any,
) -> None:
    """Serve simulated vLLM model servers.

    When all of them listen, one JSON line on standard output lists their addresses; SIGTERM or Ctrl-C ends them.

    Example: igw sim --replicas 4 --model demo --speed 2
    """
    try:
        fields = given(OPTIONS, flags)
        uvloop.run(_serve(_from_files(file, fields) if file else [_from_flags(fields)]))
    except ConfigError as error:
        print(f"igw sim: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _from_files(files: list[Path], flags: dict[str, Any]) -> list[Simulator]:
    if flags:
        raise ConfigError("--file", "the other flags describe a simulator too", "set its fields in the file")
    simulators = read(files)
    if not simulators:
        names = ", ".join(map(str, files))
        raise ConfigError(
            names, "no object of kind Simulator", "apiVersion: igw.dev/v1alpha1, kind: Simulator"
        )
    return simulators


def _from_flags(flags: dict[str, Any]) -> Simulator:
    try:
        spec = msgspec.convert({"model": _DEFAULT_MODEL} | flags, SimulatorSpec)
    except msgspec.ValidationError as error:
        raise ConfigError("flags", str(error)) from error
    return Simulator(metadata=Metadata(name="sim"), spec=spec)


async def _serve(simulators: list[Simulator]) -> None:
    stop = stop_asked()
    async with running(simulators) as endpoints:
        ready = {"ready": True, "endpoints": endpoints}
        print(msgspec.json.encode(ready).decode(), flush=True)
        await stop.wait()
