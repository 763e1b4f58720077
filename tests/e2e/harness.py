"""A whole stack for one test: simulated servers, each a process of its own, a picker process, the real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml

from igw.config.manifests import load
from igw.gateway.run import GatewayRunner
from igw.gateway.settings import GatewaySettings
from igw.stack.child import Child

MODEL = "llama"
POOL_LABELS = {"app": "llama"}
GRPC = "igw.dev/grpc-port"


def igw(name: str, *arguments: str, log: list[str] | None = None) -> Child:
    """Return a component as a child process; its log lines go to *log*."""
    return Child(
        name, [sys.executable, "-m", "igw", *arguments], relay=(log.append if log is not None else None)
    )


class Stack:
    """What a test holds of its stack."""

    def __init__(self, folder: Path, failure_mode: str, gateway_annotations: dict[str, str]) -> None:
        self.folder = folder
        self.failure_mode = failure_mode
        self.route_annotations = gateway_annotations
        self.servers: list[Child] = []
        self.ports: list[int] = []
        self.grpc_ports: list[int] = []
        self.picker_log: list[str] = []
        self.picker: Child = igw("picker")
        self.picker_addresses: dict[str, str] = {}
        self.gateway: GatewayRunner
        self.url = ""
        self.http: aiohttp.ClientSession

    @property
    def file(self) -> Path:
        """The manifests."""
        return self.folder / "stack.yaml"

    def write(self, ports: list[int]) -> None:
        """Write the manifests with these endpoints."""
        self.file.write_text(yaml.safe_dump_all(self.documents(ports)))

    def documents(self, ports: list[int]) -> list[dict[str, Any]]:
        """Return a gateway, a route, a pool and its endpoints, whose protocol is gRPC where they have ports for it."""
        protocol = {"appProtocol": "kubernetes.io/h2c"} if self.grpc_ports else {}
        labels = [POOL_LABELS | {GRPC: str(port)} for port in self.grpc_ports] or [POOL_LABELS] * len(ports)
        return [
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
             "spec": {"gatewayClassName": "igw", "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]}},
            {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
             "metadata": {"name": "r", "annotations": self.route_annotations},
             "spec": {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [
                 {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "p"}]}]}},
            {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": {"name": "p"},
             "spec": {"selector": {"matchLabels": POOL_LABELS}, "targetPorts": [{"number": 8000}],
                      **protocol,
                      "endpointPickerRef": {"name": "epp", "port": {"number": 9002},
                                            "failureMode": self.failure_mode}}},
            {"apiVersion": "igw.dev/v1alpha1", "kind": "Endpoints", "endpoints": [
                {"name": f"s{index}", "address": "127.0.0.1", "port": str(port), "labels": labels[index]}
                for index, port in enumerate(ports)]},
        ]  # fmt: skip

    async def start_picker(self, *extra: str) -> None:
        """Start a picker, at the address of the last one if there was one."""
        port = self.picker_addresses.get("grpc", "127.0.0.1:0").rpartition(":")[2]
        self.picker = igw(
            "picker", "epp", "-f", str(self.file), "--grpc-port", port, "--grpc-health-port", "0",
            "--metrics-port", "0", "--drain-timeout", "1", "--waiting-room", "127.0.0.1:0", *extra, log=self.picker_log,
        )  # fmt: skip
        said = await self.picker.start()
        self.picker_addresses = {key: str(said[key]) for key in ("grpc", "health", "metrics", "waiting_room")}

    async def metric(self, name: str) -> float:
        """Return the sum of a metric's series on the picker's page."""
        async with self.http.get(f"http://{self.picker_addresses['metrics']}/metrics") as response:
            page = await response.text()
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        return sum(map(float, values))

    async def becomes(self, name: str, value: float, within_seconds: float = 5.0) -> None:
        """Return once a metric has *value*: asked again and again, because metrics tell only who asks."""
        seen = float("nan")
        try:
            async with asyncio.timeout(within_seconds):
                while (seen := await self.metric(name)) != value:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{name} is {seen}, not {value}, after {within_seconds} s") from None

    async def until(self, true: Callable[[], Awaitable[bool]], within_seconds: float = 10.0) -> None:
        """Return once *true*() is: for what can only be learnt by asking the proxy again."""
        async with asyncio.timeout(within_seconds):
            while not await true():
                await asyncio.sleep(0.02)

    def chat(self, text: str = "hello", **fields: Any) -> Any:
        """Send a chat request; `async with` its answer."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 4, **fields}
        # From a file, because aiohttp warns of large bodies in memory.
        data = io.BytesIO(json.dumps(body).encode())
        return self.http.post(
            f"{self.url}/v1/chat/completions", data=data, headers={"content-type": "application/json"}
        )

    async def faults(self, index: int, **faults: Any) -> None:
        """Set the faults of one server."""
        async with self.http.post(
            f"http://127.0.0.1:{self.ports[index]}/igw/faults", json=faults
        ) as response:
            response.raise_for_status()


@contextlib.asynccontextmanager
async def stack(
    folder: Path,
    servers: int = 2,
    failure_mode: str = "FailOpen",
    route_annotations: dict[str, str] | None = None,
    picker_flags: tuple[str, ...] = (),
    server_flags: tuple[str, ...] = ("--speed", "20"),
    settings: GatewaySettings | None = None,
    *,
    reached_by: Callable[[str], str] = str,
) -> AsyncIterator[Stack]:
    """Run a stack until the block is left, then leave nothing behind. *reached_by* says where Envoy finds the picker that is at an address."""
    made = Stack(folder, failure_mode, route_annotations or {})
    async with contextlib.AsyncExitStack() as exits:
        made.http = await exits.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        )
        made.servers = [
            igw(f"server {index}", "sim", "--model", MODEL, *server_flags) for index in range(servers)
        ]
        for server in made.servers:
            exits.push_async_callback(server.stop)
        ready = await asyncio.gather(*(server.start() for server in made.servers))
        endpoints = [said["endpoints"][0] for said in ready]
        made.ports = [int(each["port"]) for each in endpoints]
        made.grpc_ports = [int(each["labels"][GRPC]) for each in endpoints if GRPC in each["labels"]]
        made.write(made.ports)

        async def stop_picker() -> None:
            await made.picker.stop()

        exits.push_async_callback(stop_picker)
        await made.start_picker(*picker_flags)
        base = settings or GatewaySettings()
        used = msgspec.structs.replace(
            base,
            picker=reached_by(made.picker_addresses["grpc"]),
            waiting_room=made.picker_addresses["waiting_room"],
            free_ports=True,
        )
        made.gateway = await exits.enter_async_context(GatewayRunner(load([made.file]), used))
        assert await made.gateway.finds_picker(within_seconds=10)
        (address,) = made.gateway.addresses.values()
        made.url = f"http://{address}"
        if servers:
            await made.becomes("llm_d_epp_ready_endpoints", servers)
        yield made
