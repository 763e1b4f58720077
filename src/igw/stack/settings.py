"""What the command line says of a start. What the gateway does is in the manifests."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from igw.errors import ConfigError

ADDRESS = "127.0.0.1"
"""Where the picker and Envoy's admin listen: they are for this machine only."""


class Settings(msgspec.Struct, frozen=True):
    """Ports are of 127.0.0.1; 0 is any free one."""

    picker_port: int = 9002
    health_port: int = 9003
    metrics_port: int = 9090
    dashboard_port: int = 8081
    admin_port: int = 0
    concurrency: int = 1
    """Envoy's worker threads."""
    free_listeners: bool = False
    """Whether listeners take any free port instead of the Gateway's."""
    picker_config: Path | None = None
    """A file with the EndpointPickerConfig to use."""
    allow_experimental: bool = False
    """Whether it may use plugins that upstream calls Alpha."""
    shadows: tuple[str, ...] = ()
    """Policies beside it, `NAME=PATH` each."""
    shadow_share: float = 0.1
    """Of decisions: how many they look at."""

    def require_free_ports(self) -> None:
        """Raise `ConfigError` for the first port that somebody else has, naming its flag."""
        ports = {
            "--picker-port": self.picker_port,
            "--health-port": self.health_port,
            "--metrics-port": self.metrics_port,
            "--dashboard-port": self.dashboard_port,
            "--admin-port": self.admin_port,
        }
        flags: dict[int, str] = {}
        for flag, port in ports.items():
            if port and port in flags:
                raise ConfigError(flag, f"port {port} is taken by {flags[port]}", "give them different ones")
            flags[port] = flag
            if port and not _is_free(port):
                raise ConfigError(
                    flag, f"port {port} on {ADDRESS} is in use", f"choose another one with {flag}"
                )


ON_FREE_PORTS = Settings(picker_port=0, health_port=0, metrics_port=0, dashboard_port=0, free_listeners=True)
"""Beside whatever else runs on this machine."""


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # As servers do: a port whose last connections are only waiting to be forgotten is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, port))
        except OSError:
            return False
    return True
