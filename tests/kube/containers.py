"""The containers of the chart's Pods as processes: a picker, an Envoy. With the arguments and files of the chart, but on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.proxy import envoy_of, free_port, listening
from igw.gateway.launch import dying_with_us

_ON_LOOPBACK = (
    "--bind-address=127.0.0.1",
    "--grpc-port=0",
    "--grpc-health-port=0",
    "--metrics-port=0",
    "--shutdown-delay=0s",
    "--drain-timeout=1s",
)
_ELSEWHERE = ("KUBECONFIG", "NAMESPACE", "POD_NAME", "KUBERNETES_SERVICE_HOST")
"""What would tell a picker of another cluster than the test's."""


@dataclass(frozen=True)
class Picker:
    """A picker that runs."""

    process: asyncio.subprocess.Process
    addresses: dict[str, str]
    """`ip:port` of `grpc`, `health` and `metrics`."""
    channel: grpc.aio.Channel
    log: Path

    @property
    def said(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    async def ready(self) -> None:
        """Return once it says that it is ready."""
        async with grpc.aio.insecure_channel(self.addresses["health"]) as channel:
            asked = health_pb2.HealthCheckRequest(service="readiness")
            async for answer in health_pb2_grpc.HealthStub(channel).Watch(asked):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return


@asynccontextmanager
async def picker(
    log: Path, account: Path, arguments: Iterable[str], pod: str = "llama-epp-5d9c7b6f4-x2x2x"
) -> AsyncIterator[Picker]:
    """Run a picker with a container's *arguments* as the kubeconfig *account* says; it must end in order, unless a test killed it."""
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    environment |= {"HOME": str(log.parent), "POD_NAME": pod}
    command = [sys.executable, "-m", "igw", *arguments, *_ON_LOOPBACK, f"--kubeconfig={account}"]
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *dying_with_us(command), stdout=asyncio.subprocess.PIPE, stderr=errors, env=environment
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
            assert line, log.read_text()
        said = json.loads(line)
        addresses = {key: str(said[key]) for key in ("grpc", "health", "metrics")}
        secure = "--secure-serving=false" not in command
        async with channel_to(addresses["grpc"], secure=secure) as channel:
            yield Picker(process, addresses, channel, log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
    assert process.returncode in (0, -signal.SIGKILL), log.read_text()


def channel_to(address: str, *, secure: bool) -> grpc.aio.Channel:
    """Return a channel to *address* that believes whatever certificate is there, as gateways do."""
    if not secure:
        return grpc.aio.insecure_channel(address)
    host, _, port = address.rpartition(":")
    certificate = ssl.get_server_certificate((host, int(port)))
    found = x509.load_pem_x509_certificate(certificate.encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    name = str(names.get_values_for_type(x509.DNSName)[0])
    credentials = grpc.ssl_channel_credentials(certificate.encode())
    return grpc.aio.secure_channel(address, credentials, [("grpc.ssl_target_name_override", name)])


@asynccontextmanager
async def envoy(folder: Path, bootstrap: str, picker_address: str) -> AsyncIterator[str]:
    """Run the Envoy of mode `standalone` with its file *bootstrap*, beside the picker at *picker_address*; yield its URL."""
    config: dict[str, Any] = yaml.safe_load(bootstrap)
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    ports = {}
    for listener in config["static_resources"]["listeners"]:
        ports[listener["name"]] = free_port()
        listener["address"] = _address(ports[listener["name"]])
    (epp,) = (each for each in config["static_resources"]["clusters"] if each["name"] == "epp")
    (found,) = epp["load_assignment"]["endpoints"][0]["lb_endpoints"]
    found["endpoint"]["address"] = _address(int(picker_address.rpartition(":")[2]))
    async with envoy_of(folder, config):
        for port in ports.values():
            await listening(port)
        yield f"http://127.0.0.1:{ports['inference']}"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
