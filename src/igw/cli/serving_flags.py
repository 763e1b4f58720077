"""Flags on the ports of a process that a gateway asks over ext_proc, their TLS, and its end. What listens there is elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igw.cli.groups import Group
from igw.cli.spans import seconds
from igw.config.decode import nearest
from igw.errors import ConfigError

if TYPE_CHECKING:  # so that `igw --help` needs no gRPC
    from igw.extproc.certificates import Tls

_IN_CLUSTER_SECONDS = 5.0
"""How long new exchanges are taken there after SIGTERM: by then Services and gateways lead elsewhere."""

_VERSIONS = ("VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13")
_SUITES = tuple(
    f"TLS_ECDHE_{signed}_WITH_{cipher}"
    for signed in ("ECDSA", "RSA")
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
)
"""Those of Go for TLS 1.2 that gRPC takes and that nobody warns of. Those of TLS 1.3 cannot be chosen, in Go neither."""
_OF_TLS13 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_NONE_OF_TLS12 = "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
"""Nobody has a shared key, so with this suite alone a handshake of TLS 1.2 fails; gRPC cannot be told a version."""


class Serving(Group, frozen=True):
    """Ports, TLS and the end."""

    bind_address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    grpc_port: Annotated[
        int, typer.Option(help="gRPC: ext_proc and access logs; 0 takes a free port.", min=0, max=65535)
    ] = 9002
    grpc_health_port: Annotated[
        int, typer.Option(help="gRPC health, never with TLS; 0 takes a free port.", min=0, max=65535)
    ] = 9003
    metrics_port: Annotated[
        int, typer.Option(help="Prometheus metrics over HTTP; 0 takes a free port.", min=0, max=65535)
    ] = 9090
    secure_serving: Annotated[
        bool | None,
        typer.Option(
            help="TLS on the gRPC port, with a certificate of its own making unless there is --cert-path; "
            "unless given where objects are those of a cluster."
        ),
    ] = None
    cert_path: Annotated[
        Path | None,
        typer.Option(help="Folder with tls.crt and tls.key, read again when they change; turns TLS on."),
    ] = None
    tls_min_version: Annotated[
        str,
        typer.Option(help="VersionTLS12 or VersionTLS13; less than 1.2 is never spoken.", metavar="VERSION"),
    ] = "VersionTLS12"
    tls_cipher_suites: Annotated[
        str, typer.Option(help="For TLS 1.2, by Go's names, with commas between.", metavar="SUITE,...")
    ] = ""
    shutdown_delay: Annotated[
        float | None,
        typer.Option(
            help="How long new exchanges are still taken after SIGTERM; unless given 5 s in a cluster, else 0.",
            parser=seconds(),
            metavar="DURATION",
        ),
    ] = None
    drain_timeout: Annotated[
        float,
        typer.Option(
            help="What exchanges get after SIGTERM in all: seconds, or such as 30s.",
            parser=seconds(),
            metavar="DURATION",
        ),
    ] = 30.0

    def prepare_grpc(self) -> None:
        """Tell gRPC what it can only be told by the environment, before it is imported.

        Raises:
            ConfigError: there is no such version or cipher suite.
        """
        # Its newer listener hands every message over between threads once more (docs/decisions/0009).
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
        suites = self._suites()
        if suites:
            os.environ["GRPC_SSL_CIPHER_SUITES"] = ":".join(suites)

    def tls(self, *, in_cluster: bool = False) -> Tls | None:
        """Return the TLS of the gRPC port, None for none."""
        from igw.extproc.certificates import Tls

        chosen = self.secure_serving
        wanted = (in_cluster or self.cert_path is not None) if chosen is None else chosen
        return Tls(self.cert_path) if wanted else None

    def delay_seconds(self, *, in_cluster: bool) -> float:
        """Return how long new exchanges are still taken after SIGTERM."""
        default = _IN_CLUSTER_SECONDS if in_cluster else 0.0
        return default if self.shutdown_delay is None else self.shutdown_delay

    def _suites(self) -> tuple[str, ...]:
        if self.tls_min_version not in _VERSIONS:
            problem = f"there is no version `{self.tls_min_version}`"
            raise ConfigError("--tls-min-version", problem, nearest(self.tls_min_version, _VERSIONS))
        named = [each.strip() for each in self.tls_cipher_suites.split(",") if each.strip()]
        for suite in named:
            if suite not in (*_SUITES, *_OF_TLS13):
                problem = f"there is no cipher suite `{suite}`"
                raise ConfigError("--tls-cipher-suites", problem, nearest(suite, _SUITES))
        if self.tls_min_version == "VersionTLS13":
            return (_NONE_OF_TLS12,)
        return tuple(each for each in named if each in _SUITES) or ((_NONE_OF_TLS12,) if named else ())
