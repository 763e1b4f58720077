"""Asking for pages over TLS, with certificates and tokens that are rotated."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.scraping.access import Access, Credentials, session


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a certificate for 127.0.0.1, which signed itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=engine",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    return tmp_path


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Endpoint]:
    """A server that speaks TLS, asks for our certificate, and says what token it was shown."""

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("peercert")
        return web.Response(text=f"{bool(shown)} {request.headers.get('authorization')}")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "tls.crt"))
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield Endpoint.at("127.0.0.1", runner.addresses[0][1])
    await runner.cleanup()


async def asked(endpoint: Endpoint, access: Access) -> str:
    """Return what the server says."""
    credentials = Credentials(access, 0.0)
    url = access.url(endpoint)
    async with session() as http, http.get(url, ssl=credentials.ssl, headers=credentials.headers) as response:
        return await response.text()


async def test_a_certificate_is_verified_unless_told_otherwise(engine: Endpoint, folder: Path) -> None:
    """Upstream believes any by default."""
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await asked(engine, Access("https"))
    assert await asked(engine, Access("https", ca_file=folder / "tls.crt")) == "False None"
    assert await asked(engine, Access("https", insecure_skip_verify=True)) == "False None"


async def test_our_certificate_and_our_token_are_shown(engine: Endpoint, folder: Path) -> None:
    """MTLS, and a bearer token as Kubernetes mounts it."""
    (folder / "token").write_text("secret\n")
    crt, key = folder / "tls.crt", folder / "tls.key"
    access = Access("https", ca_file=crt, cert_file=crt, key_file=key, token_file=folder / "token")
    assert await asked(engine, access) == "True Bearer secret"


def test_a_token_that_is_replaced_is_read_again(tmp_path: Path) -> None:
    """Not at every scrape; while it cannot be read the old one stays."""
    path = tmp_path / "token"
    path.write_text("one")
    credentials = Credentials(Access(token_file=path), 0.0)
    _replace(path, "two")
    credentials.refresh(1.0)
    assert credentials.headers == {"authorization": "Bearer one"}
    credentials.refresh(6.0)
    assert credentials.headers == {"authorization": "Bearer two"}
    _replace(path, "")
    with pytest.raises(ConfigError, match="is no bearer token"):
        credentials.refresh(12.0)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        credentials.refresh(18.0)
    assert credentials.headers == {"authorization": "Bearer two"}
    _replace(path, "three")
    credentials.refresh(24.0)
    assert credentials.headers == {"authorization": "Bearer three"}


def _replace(path: Path, text: str) -> None:
    """Put another file in place, as those do who rotate."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_a_certificate_that_is_replaced_makes_another_context(folder: Path) -> None:
    """And one that is not does not: connections are kept."""
    access = Access("https", ca_file=folder / "tls.crt")
    credentials = Credentials(access, 0.0)
    before = credentials.ssl
    credentials.refresh(10.0)
    assert credentials.ssl is before
    _replace(folder / "tls.crt", (folder / "tls.crt").read_text())
    credentials.refresh(20.0)
    assert credentials.ssl is not before


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("no certificate", "ca_file"),
        ("no certificate", "cert_file"),
        ("two words", "token_file"),
        ("\x7f", "token_file"),
    ],
)
def test_a_file_that_is_something_else_is_an_error_that_names_it(
    text: str, field: str, tmp_path: Path
) -> None:
    """At the start, not at the first scrape."""
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        key = path if field == "cert_file" else None
        Credentials(Access("https", key_file=key, **{field: path}), 0.0)  # type: ignore[arg-type]
    assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("endpoint", "access", "url"),
    [
        (Endpoint.at("10.0.0.1", 8000), Access(), "http://10.0.0.1:8000/metrics"),
        (Endpoint.at("10.0.0.1", 8000, http_port=8001), Access(), "http://10.0.0.1:8001/metrics"),
        (Endpoint.at("10.0.0.1", 8000, http_port=8001), Access(port=9400), "http://10.0.0.1:9400/metrics"),
        (Endpoint.at("fd00::1", 8000), Access("https", "/m"), "https://[fd00::1]:8000/m"),
    ],
)
def test_the_address_of_a_page(endpoint: Endpoint, access: Access, url: str) -> None:
    """The port that is configured, else that of HTTP where another is for gRPC, else the endpoint's."""
    assert access.url(endpoint) == url


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"scheme": "ftp"}, "--model-server-metrics-scheme: `ftp` is no scheme"),
        ({"path": "metrics"}, "--model-server-metrics-path: `metrics` is no path (/metrics)"),
        ({"cert_file": Path("a")}, "belong together"),
        ({"key_file": Path("a")}, "belong together"),
    ],
)
def test_flags_that_cannot_be_are_named(flags: Mapping[str, object], said: str) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError) as error:
        Credentials(msgspec.structs.replace(Access(), **flags), 0.0)
    assert said in str(error.value)
