"""Whom to ask and as whom: kubeconfig, service account, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from igw.errors import ConfigError
from igw.kubernetes import client

GOOD: dict[str, Any] = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "namespace": "llm"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [],
}


def written(tmp_path: Path, **changes: Any) -> Path:
    """Return a kubeconfig."""
    path = tmp_path / "config"
    path.write_text(json.dumps({**GOOD, **changes}))
    return path


async def test_a_kubeconfig_says_server_and_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is named, else that of the environment; a context without a user is somebody unknown."""
    path = written(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(path))
    for named in (path, None):
        config = client.configuration(named)
        assert (config.namespace, config.cluster.server) == ("llm", "https://127.0.0.1:1")
    async with client.connection(config) as http:
        assert str(http.base_url) == "https://127.0.0.1:1"


def test_a_pod_has_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before the environment's kubeconfig."""
    for name, text in (("token", "secret"), ("namespace", "llm"), ("ca.crt", "")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(client, "SERVICE_ACCOUNT", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    config = client.configuration()
    assert (config.namespace, config.cluster.server) == ("llm", "https://[fd00::1]:443")
    assert config.user is not None
    assert config.user.token_file == str(tmp_path / "token")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"current-context": "other"}, "Context 'other' not found"),
        ({"current-context": None}, "No current context"),
        ({"clusters": []}, "`c` is missing"),
        ({"contexts": 5}, "is not a kubeconfig"),
        ({"clusters": [{"name": "c", "cluster": {"server": 5}}]}, "is not a kubeconfig"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_named(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    """With what is wrong."""
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError, match=problem) as error:
        client.configuration(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("text", ["{", "- 5", "", "5"])
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str) -> None:
    """Whatever else it is."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not a kubeconfig"):
        client.configuration(path)


def test_without_any_cluster_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was named and is not there, and nothing at all."""
    with pytest.raises(ConfigError, match="no such file"):
        client.configuration(tmp_path / "none")
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no kubeconfig.*--kubeconfig or"):
        client.configuration()


def test_credentials_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    """Said before anything is asked."""
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority": "missing.crt"}
    with pytest.raises(ConfigError, match="credentials cannot be used"):
        client.connection(
            client.configuration(written(tmp_path, clusters=[{"name": "c", "cluster": cluster}]))
        )
