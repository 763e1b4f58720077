"""A real Kubernetes API server for tests. Without its binaries every test of this folder is skipped."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kube.api import Api
from tests.kube.cluster import Cluster, missing
from tests.kube.kubelet import Kubelet

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give the cluster of this run, with nothing in it. It is one for all tests: make a namespace of your own."""
    if why := missing():
        pytest.skip(why)
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster) -> Cluster:
    """Give the cluster of this run with our CRDs."""
    from igw.kubernetes.crds.definitions import text

    bare_cluster.apply(text(legacy=True))
    bare_cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    return bare_cluster


@pytest.fixture
def namespace(bare_cluster: Cluster) -> str:
    """Give a namespace that nobody else has. It stays, since nobody is there to finalize it."""
    name = f"test-{next(_NUMBERS)}"
    bare_cluster.kubectl("create", "namespace", name)
    return name


@pytest.fixture
async def api(bare_cluster: Cluster) -> AsyncIterator[Api]:
    """Give what sends plain requests to the cluster."""
    requests = Api(bare_cluster)
    try:
        yield requests
    finally:
        await requests.aclose()


@pytest.fixture
def kubelet(api: Api) -> Kubelet:
    """Give what makes Pods ready."""
    return Kubelet(api)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give a cluster of the test's own, for one that stops or freezes its servers: 4 s to start, without our CRDs."""
    if why := missing():
        pytest.skip(why)
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
