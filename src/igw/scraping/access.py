"""How metrics pages are asked for: where they are, TLS, who we are. What is on them is `mapping`; when to ask is `scraper`."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import msgspec

from igw.endpoint import Endpoint, hostport
from igw.errors import ConfigError

MOST_BYTES = 8 << 20
"""A page that is longer is not read. vLLM's has 70 KB, with many adapters some hundred."""
_TIMEOUT = aiohttp.ClientTimeout(total=2.0, connect=1.0)
_SERVER_CONNECTIONS = 2
"""At once to one server: one page, and one of another pool with the same server."""
_IDLE_SECONDS = 30.0
_LOOK_SECONDS = 5.0
"""How often files with certificates and tokens are looked at for a change."""


class Access(msgspec.Struct, frozen=True):
    """Where the pages of a pool's endpoints are, and what to show there."""

    scheme: str = "http"
    """`http` or `https`."""
    path: str = "/metrics"
    port: int = 0
    """0: where the endpoint serves HTTP."""
    insecure_skip_verify: bool = False
    """Whether a server's certificate may be anybody's. Upstream's default is true."""
    ca_file: Path | None = None
    """Who signs the servers' certificates; None: whom this machine trusts."""
    cert_file: Path | None = None
    """Our own certificate (mTLS), with `key_file`."""
    key_file: Path | None = None
    token_file: Path | None = None
    """A bearer token, such as Kubernetes mounts for service accounts."""

    def url(self, endpoint: Endpoint) -> str:
        """Return the address of an endpoint's page."""
        port = self.port or endpoint.http_port or endpoint.port
        return f"{self.scheme}://{hostport(endpoint.address, port)}{self.path}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it refers to."""
        return tuple(
            [each for each in (self.ca_file, self.cert_file, self.key_file, self.token_file) if each]
        )


def session() -> aiohttp.ClientSession:
    """Return what pages are asked for with: connections are kept, pages are not compressed, for that costs both sides more than it saves."""
    return aiohttp.ClientSession(
        timeout=_TIMEOUT,
        connector=aiohttp.TCPConnector(
            limit=0, limit_per_host=_SERVER_CONNECTIONS, keepalive_timeout=_IDLE_SECONDS
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"accept": "text/plain;version=0.0.4", "accept-encoding": "identity"},
    )


class Credentials:
    """What *access* refers to by file, read again when a file changes: tokens and certificates are rotated.

    Raises:
        ConfigError: a file cannot be read, or is no certificate, key or token; or a flag cannot be.
    """

    def __init__(self, access: Access, now: float) -> None:
        _check(access)
        self._access = access
        self._looked_at = now
        self._stamps = self._stamped()
        self.headers: Mapping[str, str]
        self.ssl: ssl.SSLContext | bool
        self._read()

    def refresh(self, now: float) -> None:
        """Read the files again if one has changed; they are looked at once in a while.

        Raises:
            ConfigError: as at first; what was read before stays, and the next look tries again.
        """
        if not self._access.files or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        stamps = self._stamped()
        if stamps != self._stamps:
            self._read()
            self._stamps = stamps

    def _stamped(self) -> list[tuple[int, int]]:
        stamps = []
        for path in self._access.files:
            try:
                found = path.stat()
            except OSError as error:
                raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
            stamps.append((found.st_mtime_ns, found.st_ino))
        return stamps

    def _read(self) -> None:
        context, headers = self._context(), self._authorised()
        self.ssl, self.headers = context, headers

    def _authorised(self) -> dict[str, str]:
        path = self._access.token_file
        if path is None:
            return {}
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(str(path), "cannot be read as a bearer token") from error
        if not token or not token.isprintable() or " " in token:
            raise ConfigError(str(path), "is no bearer token", "one line of ASCII is expected")
        return {"authorization": f"Bearer {token}"}

    def _context(self) -> ssl.SSLContext | bool:
        access = self._access
        if access.scheme == "http":
            return True
        try:
            context = ssl.create_default_context(cafile=str(access.ca_file) if access.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(str(access.ca_file), "cannot be read as certificates in PEM") from error
        if access.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if access.cert_file is not None:
            try:
                context.load_cert_chain(access.cert_file, access.key_file)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    str(access.cert_file), "cannot be read as a certificate, with its key, in PEM"
                ) from error
        return context


def _check(access: Access) -> None:
    # What an `EndpointPickerConfig` says was checked when it was read, so this is about flags.
    named = "--model-server-metrics-"
    if access.scheme not in {"http", "https"}:
        raise ConfigError(f"{named}scheme", f"`{access.scheme}` is no scheme", "http or https")
    if not access.path.startswith("/"):
        raise ConfigError(f"{named}path", f"`{access.path}` is no path", f"/{access.path}")
    if (access.cert_file is None) != (access.key_file is None):
        what, hint = "a certificate and its key belong together", f"give {named}cert-file and {named}key-file"
        raise ConfigError(f"{named}cert-file", what, hint)
