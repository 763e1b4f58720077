"""`igw sim` as a process: the ready line, the signals, the errors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest
from typer import Typer
from typer.main import get_command

import igw
from igw.cli.sim import sim
from igw.simulator.manifest import SimulatorSpec

PROGRAM = "import typer; from igw.cli.sim import sim; typer.run(sim)"
MANIFEST = """
apiVersion: igw.dev/v1alpha1
kind: Simulator
metadata: {name: small, namespace: demo}
spec: {model: demo, replicas: 2, labels: {app: demo}}
---
kind: Gateway
"""


@asynccontextmanager
async def command(*flags: str) -> AsyncIterator[Process]:
    """The process, ended at last if it has not ended itself."""
    source = str(Path(igw.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        *flags,
        stdout=PIPE,
        stderr=PIPE,
        env=os.environ | {"PYTHONPATH": source, "COLUMNS": "120"},
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_ready_line_lists_endpoints_and_a_signal_ends_it_with_zero(
    number: int, tmp_path: Path
) -> None:
    """Even while an answer is under way."""
    file = tmp_path / "objects.yaml"
    file.write_text(MANIFEST)
    async with command("-f", str(file)) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        assert ready["ready"] is True
        endpoints = ready["endpoints"]
        assert [each["name"] for each in endpoints] == ["small-0", "small-1"]
        assert {each["namespace"] for each in endpoints} == {"demo"}
        assert endpoints[0]["labels"] == {"app": "demo"}
        assert isinstance(endpoints[0]["port"], str)
        url = f"http://{endpoints[0]['address']}:{endpoints[0]['port']}/v1/completions"
        ask = {"prompt": "x", "max_tokens": 100_000, "stream": True}
        async with client.post(url, json=ask) as response:
            await response.content.readline()
            process.send_signal(number)
            rest, errors = await process.communicate()
        assert (process.returncode, rest, errors) == (0, b"", b"")


async def test_flags_describe_one_simulator() -> None:
    """No file needed."""
    flags = ("--replicas", "2", "--model", "mine", "--num-gpu-blocks", "100", "--speed", "4")
    async with command(*flags) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        endpoints = json.loads(await process.stdout.readline())["endpoints"]
        assert [each["name"] for each in endpoints] == ["sim-0", "sim-1"]
        async with client.get(f"http://127.0.0.1:{endpoints[1]['port']}/v1/models") as response:
            card = (await response.json())["data"][0]
        assert (card["id"], card["max_model_len"]) == ("mine", 1600)
        process.terminate()
        await process.communicate()
        assert process.returncode == 0


def fields(struct: type[msgspec.Struct]) -> set[str]:
    """The names of the fields, those of a struct inside in its place."""
    names = set()
    for field in msgspec.structs.fields(struct):
        inside = type(field.default)
        names |= fields(inside) if issubclass(inside, msgspec.Struct) else {field.name}
    return names


def test_every_field_of_a_simulator_is_a_flag() -> None:
    """With a text, and in a panel of its own kind."""
    app = Typer(add_completion=False)
    app.command()(sim)
    options = {option.name: option for option in get_command(app).params}
    assert set(options) == fields(SimulatorSpec) | {"file"}
    for name, option in options.items():
        first = option.opts[0]
        assert name == "file" or first == f"--{name.replace('_', '-')}"
        assert option.help
        assert getattr(option, "rich_help_panel", None) != "Other"


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--port", "first_port"),
        ("--host", "address"),
        ("--tensor-parallel-size", "tensor_parallel"),
        ("--num-gpu-blocks-override", "num_gpu_blocks"),
        ("--startup-duration", "loading_seconds"),
    ],
)
def test_flags_have_the_names_of_vllm_too(flag: str, name: str) -> None:
    """Where ours is another."""
    app = Typer(add_completion=False)
    app.command()(sim)
    [option] = [option for option in get_command(app).params if option.name == name]
    assert flag in option.opts


async def test_every_kind_of_flag_reaches_the_server() -> None:
    """Lists, labels, switches, choices, structs."""
    flags = (
        "--served-model-name",
        "a",
        "--served-model-name",
        "b",
        "--labels",
        "app=x",
        "--lora-modules",
        "l=p",
    )
    flags += ("--scheduling-policy", "priority", "--no-enable-prompt-tokens-details", "--api-key", "k")
    async with command(*flags) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        [endpoint] = json.loads(await process.stdout.readline())["endpoints"]
        assert endpoint["labels"] == {"app": "x"}
        url = f"http://127.0.0.1:{endpoint['port']}"
        headers = {"Authorization": "Bearer k"}
        async with client.get(f"{url}/v1/models", headers=headers) as response:
            assert [card["id"] for card in (await response.json())["data"]] == ["a", "b", "l"]
        ask = {"prompt": "x", "max_tokens": 1}
        async with client.post(f"{url}/v1/completions", json=ask, headers=headers) as response:
            assert (await response.json())["usage"]["prompt_tokens_details"] is None
        process.terminate()
        await process.communicate()


async def failure(*flags: str) -> str:
    """What a command that fails says."""
    async with command(*flags) as process:
        out, errors = await process.communicate()
        assert (process.returncode, out) == (1, b"")
        return errors.decode()


async def test_a_busy_port_is_one_sentence_that_names_the_flag() -> None:
    """And the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = await failure("--port", str(port))
    assert f"127.0.0.1:{port} is already in use" in words
    assert "--port" in words
    assert words.count("\n") == 1


async def test_bad_flags_and_files_without_simulators_are_refused(tmp_path: Path) -> None:
    """One sentence each."""
    empty = tmp_path / "empty.yaml"
    empty.write_text("kind: Gateway")
    assert "no object of kind Simulator" in await failure("-f", str(empty))
    assert "set its fields in the file" in await failure("-f", str(empty), "--replicas", "2")
    assert "no calibration for 'gpt-2'" in await failure("--calibration", "gpt-2")
    assert "`int` >= 1 - at `$.replicas`" in await failure("--replicas", "0")
    assert "--labels: 'x' is not of the form key=value" in await failure("--labels", "x")


async def test_the_help_has_an_example() -> None:
    """What one would type first."""
    async with command("--help") as process:
        out, _ = await process.communicate()
    assert b"igw sim --replicas 4 --model demo --speed 2" in out
