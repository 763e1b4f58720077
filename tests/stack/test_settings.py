"""Ports that somebody else has."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from igw.errors import ConfigError
from igw.stack.settings import ON_FREE_PORTS, Settings


@pytest.fixture
def busy() -> Iterator[int]:
    """Give a port that is listened on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("flag", ["picker_port", "health_port", "metrics_port", "admin_port"])
def test_a_busy_port_names_its_flag(flag: str, busy: int) -> None:
    """The sentence has the port, the address and the cure."""
    settings = Settings(
        **{"picker_port": 0, "health_port": 0, "metrics_port": 0, "dashboard_port": 0, flag: busy}
    )
    name = "--" + flag.replace("_", "-")
    with pytest.raises(ConfigError) as refusal:
        settings.require_free_ports()
    assert (
        str(refusal.value) == f"{name}: port {busy} on 127.0.0.1 is in use (choose another one with {name})"
    )


def test_one_port_for_two_purposes_is_refused() -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match="--health-port: port 1 is taken by --picker-port"):
        Settings(picker_port=1, health_port=1).require_free_ports()


def test_any_free_port_is_always_free() -> None:
    """0 is not checked."""
    ON_FREE_PORTS.require_free_ports()
