"""`igw sim`: simulated model servers as a process of their own."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop

from igw.errors import ConfigError
from igw.simulator.fleet import running
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec, read

_DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def sim(  # noqa: PLR0913, PLR0917 - typer reads the flags from the signature
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "-f", "--file", help="Manifest file or directory; objects of kind Simulator are served."
        ),
    ] = None,
    replicas: Annotated[int | None, typer.Option(help="Number of servers.", show_default="1")] = None,
    model: Annotated[str | None, typer.Option(help="Served model name.", show_default=_DEFAULT_MODEL)] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Model whose measured speed and memory is used.", show_default="llama-3.1-8b"),
    ] = None,
    tensor_parallel: Annotated[int | None, typer.Option(help="GPUs of one server.", show_default="1")] = None,
    address: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="First port; 0 takes free ones.", show_default="0")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Faster than real by this factor.", show_default="1.0")
    ] = None,
    max_num_seqs: Annotated[
        int | None, typer.Option(help="Sequences in a batch.", show_default="256")
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(help="Tokens in a step.", show_default="8192")
    ] = None,
    block_size: Annotated[int | None, typer.Option(help="Tokens in a KV block.", show_default="16")] = None,
    num_gpu_blocks: Annotated[
        int | None, typer.Option(help="KV blocks of one server.", show_default="what fits beside the weights")
    ] = None,
    max_model_len: Annotated[
        int | None, typer.Option(help="Longest prompt and answer, in tokens.", show_default="131072")
    ] = None,
) -> None:
    """Serve simulated vLLM model servers.

    When all of them listen, one JSON line on standard output lists their addresses; SIGTERM or Ctrl-C ends them.

    Example: igw sim --replicas 4 --model demo --speed 2
    """
    hardware = {"calibration": calibration, "tensorParallel": tensor_parallel}
    spec = {
        "replicas": replicas,
        "model": model,
        "hardware": {key: value for key, value in hardware.items() if value is not None} or None,
        "address": address,
        "firstPort": port,
        "speed": speed,
        "maxNumSeqs": max_num_seqs,
        "maxNumBatchedTokens": max_num_batched_tokens,
        "blockSize": block_size,
        "numGpuBlocks": num_gpu_blocks,
        "maxModelLen": max_model_len,
    }
    flags = {key: value for key, value in spec.items() if value is not None}
    try:
        uvloop.run(_serve(_from_files(file, flags) if file else [_from_flags(flags)]))
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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(simulators) as endpoints:
        ready = {"ready": True, "endpoints": endpoints}
        print(msgspec.json.encode(ready).decode(), flush=True)
        await stop.wait()
