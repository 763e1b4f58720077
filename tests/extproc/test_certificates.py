"""The certificate of the gRPC port, as real clients see it: made by us, read from a folder, changed while we serve."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from igw.errors import ConfigError
from igw.extproc.certificates import Kept, Pair, Tls, read, self_signed
from igw.extproc.health import HealthSays
from igw.extproc.listening import Limits, Ports, listen


def write(folder: Path, pair: Pair) -> None:
    """Put a certificate where a Secret would be mounted, in one step for who looks."""
    (folder / "tls.crt.new").write_bytes(pair.chain)
    (folder / "tls.key.new").write_bytes(pair.key)
    (folder / "tls.key.new").rename(folder / "tls.key")
    (folder / "tls.crt.new").rename(folder / "tls.crt")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate in a folder."""
    made = self_signed()
    write(tmp_path, made)
    return made


@contextlib.asynccontextmanager
async def serving(tls: Tls) -> AsyncIterator[str]:
    """Serve with TLS; give the address of the gRPC port."""
    async with contextlib.AsyncExitStack() as stack:
        says = HealthSays()
        says.serving()
        address, _ = await listen(stack, Ports("127.0.0.1", 0, 0, 0), (), says, Limits(1 << 20, 0), tls)
        yield address


async def healthy(address: str, trusted: bytes) -> bool:
    """Ask for health as a client does that believes in *trusted* only."""
    known = grpc.ssl_channel_credentials(trusted)
    async with grpc.aio.secure_channel(address, known) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="readiness"))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def shown(address: str) -> x509.Certificate:
    """Return the certificate that a new connection is shown."""
    anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    anything.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=anything)
    spoken = writer.get_extra_info("ssl_object")
    assert spoken.selected_alpn_protocol() == "h2"
    found = x509.load_der_x509_certificate(spoken.getpeercert(binary_form=True))
    writer.transport.abort()
    return found


async def test_without_a_folder_the_certificate_is_of_our_own_making() -> None:
    """New for each process, for ten years, for this host."""
    async with serving(Tls()) as one, serving(Tls()) as other:
        first, second = await shown(one), await shown(other)
    assert first.serial_number != second.serial_number
    assert (first.not_valid_after_utc - first.not_valid_before_utc).days > 3650
    names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)


async def test_a_client_that_trusts_the_certificate_in_the_folder_gets_through(
    tmp_path: Path, pair: Pair
) -> None:
    """And one that trusts another does not."""
    async with serving(Tls(tmp_path)) as address:
        assert await healthy(address, pair.chain)
        with pytest.raises(grpc.aio.AioRpcError):
            await healthy(address, self_signed().chain)


async def test_a_certificate_that_changes_is_shown_to_who_comes_then(tmp_path: Path, pair: Pair) -> None:
    """Whoever is connected stays so. One that cannot be used changes nothing, and the next good one counts."""
    known = grpc.ssl_channel_credentials(pair.chain)
    async with serving(Tls(tmp_path)) as address, grpc.aio.secure_channel(address, known) as before:
        stub = health_pb2_grpc.HealthStub(before)
        await stub.Check(health_pb2.HealthCheckRequest())
        renewed = self_signed()
        write(tmp_path, renewed)
        assert await shown(address) == x509.load_pem_x509_certificate(renewed.chain)
        assert await healthy(address, renewed.chain)
        (tmp_path / "tls.crt").write_text("half of it")
        assert await shown(address) == x509.load_pem_x509_certificate(renewed.chain)
        (tmp_path / "tls.crt").unlink()
        assert await healthy(address, renewed.chain)
        again = self_signed()
        write(tmp_path, again)
        assert await healthy(address, again.chain)
        await stub.Check(health_pb2.HealthCheckRequest())


def test_a_certificate_whose_key_has_not_come_yet_is_left_alone(tmp_path: Path, pair: Pair) -> None:
    """Between two writes the files do not belong together; the log says so once."""
    kept, renewed = Kept(tmp_path), self_signed()
    (tmp_path / "tls.crt").write_bytes(renewed.chain)
    assert (kept.changed(), kept.changed()) == (None, None)
    (tmp_path / "tls.key").write_bytes(renewed.key)
    assert kept.changed() == renewed
    assert kept.changed() is None


def test_a_folder_that_is_mounted_anew_with_the_same_certificate_is_no_change(
    tmp_path: Path, pair: Pair
) -> None:
    """Kubernetes does so now and then."""
    kept = Kept(tmp_path)
    write(tmp_path, pair)
    assert kept.changed() is None


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("tls.crt", "no", "tls.crt is no certificate in PEM"),
        ("tls.crt", "", "tls.crt is no certificate in PEM"),
        ("tls.key", "no", "tls.key is no key in PEM, or has a password"),
        ("tls.key", None, "tls.key: No such file or directory .it holds tls.crt and tls.key"),
        ("tls.key", self_signed().key.decode(), "tls.key is not the key of tls.crt"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    tmp_path: Path, pair: Pair, name: str, text: str | None, problem: str
) -> None:
    """With the flag and the folder."""
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        read(tmp_path)
    assert caught.value.where == f"--cert-path {tmp_path}"
