"""The certificate of the gRPC port: read from a folder, again when it changes, or of our own making. Who is to be believed is the client's business."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import threading
from pathlib import Path

import grpc
import msgspec
import structlog

from igw.errors import ConfigError

log = structlog.get_logger("tls")

_CERTIFICATE, _KEY = "tls.crt", "tls.key"
_VALID_DAYS = 3650
"""As upstream's. One of our own making is there to be accepted unseen, and is as old as the process."""
_SKEW_DAYS = 1
"""Since when it is valid: clocks differ."""

Stamp = tuple[tuple[int, int], ...]


class Tls(msgspec.Struct, frozen=True):
    """That there is TLS, and by which certificate."""

    cert_path: Path | None = None
    """A folder with `tls.crt`, the chain, and `tls.key`, both PEM, as Kubernetes mounts a Secret; None: one of our own making."""


class Pair(msgspec.Struct, frozen=True):
    """A certificate with those who signed it, and its key, in PEM."""

    chain: bytes
    key: bytes


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """Return what a gRPC server speaks TLS with; whoever connects gets the certificate that is in the folder then.

    Raises:
        ConfigError: the folder has no certificate with its key.
    """
    folder = tls.cert_path
    if folder is None:
        return grpc.ssl_server_credentials([_spoken(self_signed())])
    kept = Kept(folder)
    first = grpc.ssl_server_certificate_configuration([_spoken(kept.pair)])

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        pair = kept.changed()
        return grpc.ssl_server_certificate_configuration([_spoken(pair)]) if pair is not None else None

    return grpc.dynamic_ssl_server_credentials(first, fetch)  # type: ignore[arg-type]  # None: as before


def _spoken(pair: Pair) -> tuple[bytes, bytes]:
    return pair.key, pair.chain


class Kept:
    """The certificate in a folder. gRPC asks for it in threads of its own, once per connection.

    Raises:
        ConfigError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp = self._stamped()
        self._trouble = ""
        self.pair = read(folder)

    def changed(self) -> Pair | None:
        """Return the certificate if it is another than before. One that cannot be used changes nothing, and is tried again for the next connection."""
        with self._lock:
            try:
                return self._read_again()
            except ConfigError as error:
                self._say(error)
                return None

    def _read_again(self) -> Pair | None:
        stamp = self._stamped()
        if stamp == self._stamp:
            return None
        pair = read(self._folder)
        self._stamp, self._trouble = stamp, ""
        if pair == self.pair:
            return None
        self.pair = pair
        log.info("certificate_changed", folder=str(self._folder))
        return pair

    def _say(self, error: ConfigError) -> None:
        if str(error) != self._trouble:
            log.error("certificate_refused", where=error.where, problem=error.problem, hint=error.hint)
        self._trouble = str(error)

    def _stamped(self) -> Stamp:
        return tuple([_stat(self._folder / name) for name in (_CERTIFICATE, _KEY)])


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return found.st_mtime_ns, found.st_ino


def _unreadable(path: Path, error: OSError) -> ConfigError:
    problem = f"{path}: {error.strerror}"
    return ConfigError(f"--cert-path {path.parent}", problem, f"it holds {_CERTIFICATE} and {_KEY}")


def read(folder: Path) -> Pair:
    """Return the certificate in *folder*.

    Raises:
        ConfigError: files are missing, are not PEM, or do not belong together, as they may for a moment while they are written.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    where, path = f"--cert-path {folder}", folder / _CERTIFICATE
    try:
        chain = path.read_bytes()
        path = folder / _KEY
        key = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        certificate = load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise ConfigError(where, f"{_CERTIFICATE} is no certificate in PEM") from error
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(where, f"{_KEY} is no key in PEM, or has a password") from error
    if private.public_key() != certificate.public_key():
        raise ConfigError(where, f"{_KEY} is not the key of {_CERTIFICATE}")
    if certificate.not_valid_after_utc < dt.datetime.now(dt.UTC):
        log.warning("certificate_expired", folder=str(folder), on=str(certificate.not_valid_after_utc))
    return Pair(chain, key)


def self_signed() -> Pair:
    """Return a new certificate for this host that nobody else signed. Its key is nowhere but in this process."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, host = ec.generate_private_key(ec.SECP256R1()), socket.gethostname()
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "igw")])
    known = [x509.DNSName(each) for each in dict.fromkeys((host, "localhost"))]
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW_DAYS * day)
        .not_valid_after(now + _VALID_DAYS * day)
        .add_extension(x509.SubjectAlternativeName([*known, loopback]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    written = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), written)
