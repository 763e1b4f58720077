"""`igw epp` as a process: its ready line, its health services, its stop, and its errors."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

POOL = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama}
spec:
  selector: {matchLabels: {app: llama}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: epp, port: {number: 9002}}
"""
FREE = ("--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", "0")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool without endpoints."""
    path = tmp_path / "pool.yaml"
    path.write_text(POOL)
    return path


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start `igw epp`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "igw", "epp", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def failed(*arguments: str) -> tuple[int, str]:
    """Return exit status and standard error of an `igw epp` that does not start."""
    process = await start(*arguments)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    return process.returncode or 0, errors.decode()


async def test_it_tells_where_it_listens_is_healthy_and_stops_on_sigterm(pool: Path) -> None:
    """Protocol 004's three health services answer on the gRPC port and on the health port."""
    process = await start("-f", str(pool), *FREE)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        said = json.loads(await process.stdout.readline())
        assert said["ready"] is True
        for where in (said["grpc"], said["health"]):
            async with grpc.aio.insecure_channel(where) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                for service in ("liveness", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor", ""):
                    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def test_a_port_that_is_taken_is_named_with_its_flag(pool: Path) -> None:
    """Every port is a flag, and the sentence says which."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for flag in ("--grpc-port", "--grpc-health-port", "--metrics-port"):
            status, errors = await failed("-f", str(pool), *FREE, flag, port)
            assert status == 1
            assert f"igw epp: {flag}: cannot listen on 127.0.0.1:{port}" in errors


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("plugins: [{type: queue-scorr}]", "did you mean queue-scorer?"),
        ("plugins: [{type: max-score-picker, parameters: {maxNumOfEndpoint: 2}}]", "maxNumOfEndpoint"),
        ("pluginz: []", "pluginz"),
    ],
)
async def test_a_picker_configuration_that_cannot_be_used_is_one_sentence(
    pool: Path, tmp_path: Path, config: str, said: str
) -> None:
    """File, place and the nearest known name; no traceback."""
    path = tmp_path / "picker" / "config.yaml"
    path.parent.mkdir()
    path.write_text(f"apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{config}\n")
    status, errors = await failed("-f", str(pool), "--config-file", str(path), *FREE)
    assert status == 1
    assert errors.startswith(f"igw epp: {path}")
    assert said in errors
    assert "Traceback" not in errors


async def test_a_port_out_of_range_is_refused(pool: Path) -> None:
    """99999 must not become some other port."""
    status, errors = await failed("-f", str(pool), "--grpc-port", "99999")
    assert status == 2
    assert "--grpc-port" in errors
