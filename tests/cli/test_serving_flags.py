"""TLS and the end of a process, by flags; versions and cipher suites as a real client meets them."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from pathlib import Path

import pytest

from igw.cli.serving_flags import Serving
from igw.errors import ConfigError
from igw.extproc.certificates import Tls


@pytest.mark.parametrize(
    ("said", "in_cluster", "wanted"),
    [
        (Serving(), False, None),
        (Serving(), True, Tls()),
        (Serving(secure_serving=True), False, Tls()),
        (Serving(secure_serving=False), True, None),
        (Serving(cert_path=Path("x")), False, Tls(Path("x"))),
        (Serving(secure_serving=False, cert_path=Path("x")), False, None),
    ],
)
def test_there_is_tls_in_a_cluster_and_where_somebody_asks_for_it(
    said: Serving, in_cluster: bool, wanted: Tls | None
) -> None:
    """Upstream has it on everywhere."""
    assert said.tls(in_cluster=in_cluster) == wanted


def test_new_exchanges_are_taken_for_a_while_in_a_cluster() -> None:
    """Unless somebody knows better."""
    assert Serving().delay_seconds(in_cluster=False) == 0
    assert Serving().delay_seconds(in_cluster=True) == 5
    assert Serving(shutdown_delay=0.0).delay_seconds(in_cluster=True) == 0


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (Serving(tls_min_version="VersionTLS31"), "there is no version `VersionTLS31` .did you mean"),
        (
            Serving(tls_cipher_suites="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA265"),
            "--tls-cipher-suites: there is no cipher suite .* .did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ),
    ],
)
def test_versions_and_suites_there_are_not(said: Serving, problem: str) -> None:
    """With the nearest name."""
    with pytest.raises(ConfigError, match=problem):
        said.prepare_grpc()


async def spoken(port: int, newest: ssl.TLSVersion) -> str:
    """Return version and suite that a client gets that speaks nothing newer; empty if it gets none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    context.set_alpn_protocols(["h2"])
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return ""
    found = writer.get_extra_info("ssl_object")
    writer.close()
    return f"{found.version()} {found.cipher()[0]}" if found.version() == "TLSv1.2" else str(found.version())


@pytest.mark.parametrize(
    ("flags", "old"),
    [
        (("--tls-min-version", "VersionTLS13"), ""),
        (("--tls-cipher-suites", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_AES_128_GCM_SHA256"),
         "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305"),
        (("--tls-min-version=VersionTLS10",), "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384"),
    ],
)  # fmt: skip
async def test_what_may_be_spoken(flags: tuple[str, ...], old: str) -> None:
    """By a process of its own: gRPC is told once. TLS 1.3 always."""
    ports = ("--grpc-port=0", "--grpc-health-port=0", "--metrics-port=0")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "igw", "bbr", *ports, "--secure-serving=true", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        port = int(json.loads(await process.stdout.readline())["grpc"].rpartition(":")[2])
        assert await spoken(port, ssl.TLSVersion.TLSv1_2) == old
        assert await spoken(port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        process.terminate()
        await process.wait()
