"""What one picker process is started with, and what it says is in force. Building it is `picker`'s business."""

from __future__ import annotations

from pathlib import Path

import msgspec

from igw.debugging.settings import Authentication
from igw.discovery.watching import ClusterSettings
from igw.explaining.settings import Settings as Explain
from igw.extproc.certificates import Tls
from igw.extproc.server import ServerSettings
from igw.parsing.limits import Limits as BodyLimits
from igw.scheduling.concerns import Concern
from igw.scraping.access import Access
from igw.shadowing.settings import Settings as Shadows
from igw.tracing.settings import Settings as Traces


class PickerSettings(msgspec.Struct, frozen=True):
    """What one picker process is started with. Ports: 0 takes a free one."""

    paths: tuple[Path, ...]
    """Manifests; watched."""
    cluster: ClusterSettings | None = None
    """Where objects come from instead of `paths`."""
    config_file: Path | None = None
    """An `EndpointPickerConfig`; wins over one among the manifests. Watched."""
    config_text: str = ""
    """The same as text; wins over both."""
    allow_experimental: bool = False
    """Whether plugins may be used that upstream calls Alpha."""
    ignores_subsets: bool = False
    """Whether all endpoints of a pool are candidates, whatever the gateway allows."""
    bind_address: str = "127.0.0.1"
    grpc_port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    dashboard_port: int | None = None
    """Where all of the metrics port is served too; None: nowhere."""
    pool: str = ""
    """`namespace/name` for gateways that name no pool."""
    scrape_interval_seconds: float = 0.05
    metrics_access: Access = Access()
    """How model servers are asked for their metrics, where the `EndpointPickerConfig` does not say."""
    max_body_bytes: int = 64 << 20
    body_limits: BodyLimits = BodyLimits()
    emit_endpoint_scores: bool = False
    """Whether picks come with the scores of all candidates, in metadata."""
    plain_text_errors: bool = False
    """Whether errors are written as upstream's picker does."""
    fail_open_on_faults: bool = False
    """Whether a request that a fault hits goes by its pool's failure mode; else it is answered 500."""
    reservation_deadline_seconds: float = 1800.0
    tls: Tls | None = None
    """Whether gRPC has TLS, and by which certificate."""
    shutdown_delay_seconds: float = 0.0
    """How long new exchanges are still taken once the process is to stop: until gateways know."""
    drain_seconds: float = 30.0
    """What exchanges get once the process is to stop, that delay included."""
    authentication: Authentication = Authentication()
    """Whose tokens the metrics port asks for."""
    traces: Traces | None = None
    """Which requests have a trace; None: none, and nothing is spent on it."""
    explain: Explain = Explain()
    """How much of decisions is kept, and who is told."""
    shadows: Shadows = Shadows()
    """Policies that decide beside the active one, and are not followed."""
    stream_metrics: bool = False
    """Whether exchanges are measured as such (upstream's `--enable-grpc-stream-metrics`)."""
    older_metrics: bool = False
    """Whether metrics are written under upstream's two older sets of names too."""
    waiting_room: str = ""
    """`ip:port` where clients are told how long they wait, as gateways reach it; empty: nowhere."""

    @property
    def exchanges(self) -> ServerSettings:
        """What of it exchanges must know."""
        return ServerSettings(
            default_pool=self.pool,
            max_body_bytes=self.max_body_bytes,
            fail_open_on_faults=self.fail_open_on_faults,
            plain_text_errors=self.plain_text_errors,
            emit_endpoint_scores=self.emit_endpoint_scores,
            ignores_subsets=self.ignores_subsets,
        )


class Refused(msgspec.Struct, frozen=True):
    """The last edit, which could not be used: where, what is wrong, and what would be right."""

    where: str
    problem: str
    hint: str


class InForce(msgspec.Struct, frozen=True):
    """What `GET /config` on the metrics port says."""

    source: str = ""
    """Where the `EndpointPickerConfig` was written; empty for the built-in default."""
    concerns: list[Concern] = []
    """What `igw check` would warn of."""
    refused: Refused | None = None
    """Set while the files say something that cannot be used; what was in force before still is."""
