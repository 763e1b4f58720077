"""Where objects come from, by flags: files or a cluster, and which of it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from igw.app.settings import PickerSettings
from igw.cli.cluster_flags import Named, followed
from igw.errors import ConfigError


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a kubeconfig whose context has the namespace `llm`."""
    monkeypatch.delenv("POD_NAME", raising=False)
    path = tmp_path / "config"
    context = {"cluster": "c", "user": "u", "namespace": "llm"}
    said = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": context}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(json.dumps(said))
    return path


def test_with_files_there_is_no_cluster() -> None:
    """The pool of gateways that name none is of the namespace `default` unless another is said."""
    files = PickerSettings(paths=(Path("x"),))
    assert followed(files, Named(pool_name="llama")).pool == "default/llama"
    assert followed(files, Named(namespace="llm", pool_name="llama")).pool == "llm/llama"
    assert followed(files, Named(namespace="llm")) == files


def test_without_files_it_is_the_cluster(kubeconfig: Path) -> None:
    """Its current namespace unless another is said; one pool or all."""
    none = PickerSettings(paths=())
    one = followed(none, Named(kubeconfig=kubeconfig, pool_name="llama"))
    assert one.cluster is not None
    assert (one.pool, one.cluster.scope.namespace, one.cluster.scope.pool_name) == (
        "llm/llama",
        "llm",
        "llama",
    )
    every = followed(
        none, Named(kubeconfig=kubeconfig, namespace="other", pool_group="inference.networking.x-k8s.io")
    )
    assert every.cluster is not None
    assert (every.pool, every.cluster.scope.namespace, every.cluster.scope.pools.version) == (
        "",
        "other",
        "v1alpha2",
    )


@pytest.mark.parametrize(
    ("pod", "name"),
    [("", "standalone"), ("llama-epp-7f9c8d6b5-x2k4q", "llama-epp"), ("llama-epp-0", "llama-epp-0")],
)
def test_pods_without_a_pool_have_one_named_like_our_deployment(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, pod: str, name: str
) -> None:
    """As upstream names it; ports that are written twice count once."""
    monkeypatch.setenv("POD_NAME", pod)
    settings = followed(
        PickerSettings(paths=()),
        Named(kubeconfig=kubeconfig, selector="app in (a,b)", target_ports="8000, 8001,8000"),
    )
    assert settings.cluster is not None
    standing = settings.cluster.scope.standing
    assert standing is not None
    assert (standing.key, settings.cluster.pod_labels) == (f"llm/{name}", "app in (a,b)")
    assert [port.number for port in standing.spec.target_ports] == [8000, 8001]


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        (Named(pool_group="example.com"), "--pool-group: there are no InferencePools of `example.com`"),
        (
            Named(pool_name="llama", selector="app=a", target_ports="8000"),
            "for Pods without an InferencePool .leave out --pool-name",
        ),
        (Named(selector="app=a"), "needs --endpoint-target-ports"),
        (Named(target_ports="8000"), "needs --endpoint-target-ports"),
        (Named(selector="app=a", target_ports="http"), "`http` is not a list of 1 to 8 ports"),
        (Named(selector="app=a", target_ports="1,2,3,4,5,6,7,8,9"), "is not a list of 1 to 8 ports"),
        (Named(selector="app=a", target_ports="65536"), "`65536` is not a list"),
    ],
)
def test_flags_that_contradict_each_other_are_named(kubeconfig: Path, named: Named, problem: str) -> None:
    """With the cure."""
    with pytest.raises(ConfigError, match=problem):
        followed(PickerSettings(paths=()), msgspec.structs.replace(named, kubeconfig=kubeconfig))


@pytest.mark.parametrize("named", [Named(), Named(selector="app=a", target_ports="8000")])
def test_files_and_a_cluster_exclude_each_other(kubeconfig: Path, named: Named) -> None:
    """Whichever flag asks for the cluster."""
    if not named.selector:
        named = msgspec.structs.replace(named, kubeconfig=kubeconfig)
    with pytest.raises(ConfigError, match="-f says that objects come from files"):
        followed(PickerSettings(paths=(Path("x"),)), named)


def test_pickers_without_a_pool_elect_by_deployment(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two releases in one namespace have a leader each, and the replicas of one have one together."""
    flags = Named(kubeconfig=kubeconfig, leader_election=True, selector="app=llama", target_ports="8000")
    leases = []
    for pod in ("a-epp-5d9c7b6f4-x2x2x", "a-epp-5d9c7b6f4-z7z7z", "b-epp-5d9c7b6f4-x2x2x"):
        monkeypatch.setenv("POD_NAME", pod)
        found = followed(PickerSettings(paths=()), flags).cluster
        assert found is not None
        assert found.report is not None
        leases.append(found.report.lease.partition(".")[0])
    assert leases == ["igw-a-epp", "igw-a-epp", "igw-b-epp"]


@pytest.mark.parametrize(
    ("flags", "lease"),
    [
        ({"pool_name": "llama"}, "igw-llama.inference.networking.k8s.io"),
        ({}, "igw.inference.networking.k8s.io"),
        ({"pool_group": "inference.networking.x-k8s.io"}, "igw.inference.networking.x-k8s.io"),
        ({"selector": "app=llama", "target_ports": "8000"}, "igw-standalone.inference.networking.k8s.io"),
        ({"pool_name": f"{'p' * 199}.llama"}, f"igw-{'p' * 199}.inference.networking.k8s.io"),
    ],
)
def test_replicas_for_the_same_pools_share_a_lease(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, str], lease: str
) -> None:
    """If there is to be an election. Each of them has a name of its own, with that of its Pod."""
    none = PickerSettings(paths=())
    for asked in (True, False):
        found = followed(none, Named(kubeconfig=kubeconfig, leader_election=asked, **flags)).cluster
        assert found is not None
        assert found.report is not None
        assert found.report.lease == (lease if asked else "")
        assert len(lease) <= 253
    monkeypatch.setenv("POD_NAME", "epp-0")
    identities = set()
    for _ in range(2):
        found = followed(none, Named(kubeconfig=kubeconfig, pool_name="llama")).cluster
        assert found is not None
        assert found.report is not None
        identities.add(found.report.identity)
    assert len(identities) == 2
    assert all(each.startswith("epp-0_") for each in identities)


def test_status_may_be_left_to_others(kubeconfig: Path) -> None:
    """Then nothing is written at all; and files have nobody to elect."""
    found = followed(PickerSettings(paths=()), Named(kubeconfig=kubeconfig, write_status=False)).cluster
    assert found is not None
    assert found.report is None
    with pytest.raises(ConfigError, match="--ha-enable-leader-election: is for a cluster"):
        followed(PickerSettings(paths=(Path("x"),)), Named(leader_election=True))
