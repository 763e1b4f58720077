"""`igw bbr` as a process: its ready line, its health, TLS, its stop, and its errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

FREE = ("--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", "0")
ADAPTERS = Path(__file__).parents[2] / "examples" / "two-models" / "adapters.yaml"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start `igw bbr`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "igw", "bbr", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[dict[str, Any]]:
    """Run it until the block is left, and see that SIGTERM ends it well."""
    process = await start(*arguments, *FREE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
            assert line, (await process.communicate())[1].decode()
            yield json.loads(line)
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def failed(*arguments: str) -> tuple[int, str]:
    """Return exit status and standard error of one that does not start."""
    process = await start(*arguments)
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    return process.returncode or 0, errors.decode()


async def is_serving(channel: grpc.aio.Channel) -> bool:
    """Ask its health."""
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(
        health_pb2.HealthCheckRequest(service="envoy.service.ext_proc.v3.ExternalProcessor")
    )
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_it_tells_where_it_listens_is_healthy_and_stops_on_sigterm() -> None:
    """With files; health on both ports, metrics under upstream's names."""
    async with running("-f", str(ADAPTERS)) as said, aiohttp.ClientSession() as http:
        for where in (said["grpc"], said["health"]):
            async with grpc.aio.insecure_channel(where) as channel:
                assert await is_serving(channel)
        async with http.get(f"http://{said['metrics']}/metrics") as page:
            assert "bbr_success_total 0\n" in await page.text()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a certificate and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    files = ("-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt"))
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "1", "-subj", "/CN=bbr", "-addext", "subjectAltName=IP:127.0.0.1", *files],
        check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path


async def test_with_a_certificate_it_speaks_tls(certificate: Path) -> None:
    """The health port stays as it is, for probes."""
    async with running("--secure-serving", "--cert-path", str(certificate)) as said:
        trusted = grpc.ssl_channel_credentials((certificate / "tls.crt").read_bytes())
        async with grpc.aio.secure_channel(said["grpc"], trusted) as channel:
            assert await is_serving(channel)
        async with grpc.aio.insecure_channel(said["health"]) as channel:
            assert await is_serving(channel)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cert-path", "/nowhere"], "--cert-path /nowhere: /nowhere/tls.crt: No such file"),
        (["--plugin", "body-field-to-heder:x"], "did you mean body-field-to-header?"),
        (["--grpc-port", "9", "--metrics-port", "9"], "--metrics-port: port 9 is taken by --grpc-port"),
        (["-f", "/nowhere.yaml"], "/nowhere.yaml: no such file"),
    ],
)
async def test_what_cannot_be_used_is_one_sentence(arguments: list[str], said: str) -> None:
    """Exit status 1, no traceback."""
    status, errors = await failed(*FREE, *arguments)
    assert status == 1
    assert said in errors
    assert errors.splitlines()[-1].startswith("igw bbr: ")
    assert "Traceback" not in errors


async def test_a_port_that_is_taken_is_named_with_its_flag() -> None:
    """As everywhere."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, errors = await failed(*FREE, "--grpc-port", port)
        assert status == 1
        assert f"igw bbr: --grpc-port: cannot listen on 127.0.0.1:{port}" in errors
