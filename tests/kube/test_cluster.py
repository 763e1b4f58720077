"""The cluster that tests use: what they rely on holds."""

from __future__ import annotations

import signal

import pytest

from tests.kube.cluster import Cluster, Refused
from tests.kube.kubelet import Kubelet

READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
"""


def test_an_account_may_do_what_its_role_says(bare_cluster: Cluster, namespace: str) -> None:
    """And nothing else, so a missing permission fails a test."""
    account = bare_cluster.service_account(namespace, "picker", READER)
    assert bare_cluster.kubectl("get", "pods", kubeconfig=account) == ""
    with pytest.raises(Refused, match='cannot list resource "secrets"'):
        bare_cluster.kubectl("get", "secrets", kubeconfig=account)
    with pytest.raises(Refused, match='in the namespace "default"'):
        bare_cluster.kubectl("get", "pods", "-n", "default", kubeconfig=account)


async def test_a_pod_lives_as_the_kubelet_says(
    bare_cluster: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    """Ready at a loopback address, unready, Terminating, gone."""

    def seen() -> tuple[str, str, bool]:
        pod = bare_cluster.get("pod", "gpu-0", "-n", namespace)
        ready = {each["type"]: each["status"] for each in pod["status"]["conditions"]}["Ready"]
        return pod["status"]["podIP"], ready, "deletionTimestamp" in pod["metadata"]

    await kubelet.run(namespace, "gpu-0", "127.0.0.2", {"app": "llama"})
    assert seen() == ("127.0.0.2", "True", False)
    await kubelet.status(namespace, "gpu-0", ready=False)
    assert seen() == ("127.0.0.2", "False", False)
    await kubelet.delete(namespace, "gpu-0")
    assert seen() == ("127.0.0.2", "False", True)
    await kubelet.gone(namespace, "gpu-0")
    assert bare_cluster.get("pods", "-n", namespace)["items"] == []


async def test_many_pods_at_once(bare_cluster: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """Each with its own address."""
    addresses = {f"gpu-{number}": f"127.0.1.{number}" for number in range(1, 41)}
    await kubelet.run_many(namespace, addresses, {"app": "llama"})
    pods = bare_cluster.get("pods", "-n", namespace, "-l", "app=llama")["items"]
    assert {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods} == addresses


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_api_server_comes_back_where_it_was(own_cluster: Cluster, how: signal.Signals) -> None:
    """With what it held, at the same address, and old tokens still count."""
    own_cluster.kubectl("create", "namespace", "kept")
    account = own_cluster.service_account("kept", "picker", READER)
    own_cluster.stop_api(how)
    with pytest.raises(Refused, match="refused"):
        own_cluster.kubectl("get", "pods", kubeconfig=account)
    own_cluster.start_api()
    assert own_cluster.kubectl("get", "pods", kubeconfig=account) == ""


def test_a_frozen_etcd_holds_requests_up(own_cluster: Cluster) -> None:
    """Which go through once it moves again."""
    with own_cluster.frozen():
        with pytest.raises(Refused, match=r"imeout|deadline"):
            own_cluster.kubectl("get", "namespaces", "--request-timeout=2s")
    assert "default" in own_cluster.kubectl("get", "namespaces")
