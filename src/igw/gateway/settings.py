"""What the one who starts the gateway decides, as against what manifests say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec


class PickerTls(msgspec.Struct, frozen=True):
    """TLS to pickers, and to a body-based router of its own."""

    ca_file: Path | None = None
    """Who signs their certificates, PEM, for the host by which each is reached; None: any certificate will do, as a picker makes its own."""


class GatewaySettings(msgspec.Struct, frozen=True):
    """How manifests become Envoy configuration. Every default suits a picker on this machine."""

    picker: str = "127.0.0.1:9002"
    """`host:port` of the endpoint picker: gRPC for ext_proc, health and OTLP logs."""
    pickers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Pool (`namespace/name`) -> `host:port`, for pools that have a picker of their own."""
    body_router: str = ""
    """`host:port` of a body-based router of its own; empty: the picker is asked, which is one as well."""
    waiting_room: str = ""
    """`ip:port` of the waiting room of `picker`, where clients are told how long they wait; empty: it has none, or Envoy cannot reach it."""
    max_request_body_bytes: int = 33_554_432
    """A larger body is answered with 413, unless its route streams request bodies."""
    stream_idle_timeout_seconds: float = 300.0
    """A request on which nothing moves for this long is ended; 0 is never."""
    picker_timeout_seconds: float = 60.0
    """How long a picker may take that says nothing. One with a queue says that a request waits in it; then it may take an hour."""
    picker_tls: PickerTls | None = None
    """Whether pickers are spoken to with TLS."""
    picker_pings: bool = True
    """Whether a request that waits for a picker that is stopped or cut off is let go after three seconds. The picker's
    gRPC server must allow pings without data (`grpc.http2.max_ping_strikes` 0); most others end the connection, and
    with it requests in their queue, after a few of them."""
    health_path: str = "/health"
    """What model servers are asked every two seconds; without an answer of 200 none falls back to them."""
    free_ports: bool = False
    """Listen on free ports instead of those the Gateways name."""
    reuse_port: bool = False
    """One socket per Envoy worker; it also lets two processes take the same port unnoticed."""

    def picker_of(self, pool: str) -> str:
        """Return the `host:port` of the picker for *pool* (`namespace/name`)."""
        return self.pickers.get(pool, self.picker)

    def waiting_room_of(self, pool: str, *, http2: bool) -> str:
        """Return the `ip:port` to which the picker of *pool* may send a request to wait; empty: it must not. A waiting room speaks HTTP/1.1."""
        return "" if http2 or self.picker_of(pool) != self.picker else self.waiting_room
