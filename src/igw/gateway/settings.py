"""What the one who starts the gateway decides, as against what manifests say."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class GatewaySettings(msgspec.Struct, frozen=True):
    """How manifests become Envoy configuration. Every default suits a picker on this machine."""

    picker: str = "127.0.0.1:9002"
    """`host:port` of the endpoint picker: gRPC for ext_proc, health and OTLP logs, without TLS."""
    pickers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Pool (`namespace/name`) -> `host:port`, for pools that have a picker of their own."""
    body_router: str = ""
    """`host:port` of a body-based router of its own; empty: the picker is asked, which is one as well."""
    max_request_body_bytes: int = 33_554_432
    """A larger body is answered with 413, unless its route streams request bodies."""
    stream_idle_timeout_seconds: float = 300.0
    """A request on which nothing moves for this long is ended; 0 is never."""
    picker_timeout_seconds: float = 60.0
    """How long a picker may take that says nothing. One with a queue says that a request waits in it; then it may take an hour."""
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
