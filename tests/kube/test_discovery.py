"""A real API server as the source of pools, followed as a service account that may do no more than it must."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from igw.app.settings import PickerSettings
from igw.cli.cluster_flags import Named, followed
from igw.config.manifests import Manifests
from igw.discovery.cluster import Scope
from igw.discovery.reporting import ReportSettings
from igw.discovery.source import Found, PickerConfigFile
from igw.discovery.watching import ClusterSettings, ClusterSource
from igw.errors import ConfigError
from igw.kubernetes.client import configuration
from igw.kubernetes.crds.definitions import text as crds
from igw.kubernetes.mirror import Pace
from tests.extproc import wire
from tests.kube.api import Api
from tests.kube.cluster import ROOT, Cluster
from tests.kube.containers import picker
from tests.kube.etcd import write_pods
from tests.kube.kubelet import Kubelet
from tests.kube.line import line

(ROLE,) = re.findall(
    r"^```yaml\n(.*?kind: Role\n.*?)^```$",
    (ROOT / "docs/kubernetes.md").read_text(),
    re.DOTALL | re.MULTILINE,
)
"""As the documentation has it: nothing may need more."""
LABELS = {"app": "llama"}


def pool(name: str = "llama", namespace: str = "", **spec: Any) -> dict[str, Any]:
    """Return an InferencePool."""
    said = {
        "selector": {"matchLabels": LABELS},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "epp", "port": {"number": 9002}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata,
        "spec": {**said, **spec},
    }


def about(kind: str, name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Return an objective or a rewrite of the pool `llama`."""
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": kind,
        "metadata": metadata,
        "spec": {"poolRef": {"name": "llama"}, **spec},
    }


class Told:
    """What a source told, and how often."""

    def __init__(self) -> None:
        self.found = Found(Manifests(), {})
        self.times = 0
        self.errors: list[ConfigError] = []
        self.source: ClusterSource
        self._news = asyncio.Event()

    def take(self, found: Found) -> None:
        self.found, self.times = found, self.times + 1
        self._news.set()

    async def until(self, reached: Callable[[], bool], seconds: float = 30.0) -> None:
        """Return when what was told makes *reached* true."""
        async with asyncio.timeout(seconds):
            while not reached():
                self._news.clear()
                await self._news.wait()

    def addresses(self, key: str) -> set[str]:
        """Return the endpoints of a pool."""
        found = self.found.pools.get(key)
        return {endpoint.hostport for endpoint in found.endpoints} if found is not None else set()

    async def until_serves(self, key: str, *addresses: str) -> None:
        await self.until(lambda: key in self.found.pools and self.addresses(key) == set(addresses))


@asynccontextmanager
async def following(
    kubeconfig: Path, scope: Scope, labels: str = "", report: ReportSettings | None = None
) -> AsyncIterator[Told]:
    """Follow *scope* as *kubeconfig* says."""
    told, stop = Told(), asyncio.Event()
    pace = Pace(first=0.05, longest=0.5, absent=0.3)
    told.source = ClusterSource(
        ClusterSettings(configuration(kubeconfig), scope, labels, pace, report), PickerConfigFile()
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(told.source.watch(told.source.read(), told.take, told.errors.append, stop))
        try:
            yield told
        finally:
            stop.set()


@pytest.fixture
def account(cluster: Cluster, namespace: str) -> Path:
    """Give the kubeconfig of a picker in the test's namespace."""
    return cluster.service_account(namespace, "picker", ROLE)


async def test_pods_and_objects_are_followed_with_the_least_role(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path
) -> None:
    """Readiness, ranks, active ports, objectives, rewrites, termination; nothing of other namespaces."""
    key = f"{namespace}/llama"
    async with following(account, Scope(namespace)) as told:
        cluster.apply(pool(namespace=namespace, targetPorts=[{"number": 8000}, {"number": 8001}]))
        await kubelet.run(namespace, "a", "127.0.0.2", LABELS)
        await kubelet.run(namespace, "b", "127.0.0.3", LABELS, annotations={"llm-d.ai/active-ports": "8001"})
        await kubelet.run(namespace, "c", "127.0.0.4", LABELS, ready=False)
        await kubelet.run(namespace, "d", "127.0.0.5", {"app": "other"})
        await told.until_serves(key, "127.0.0.2:8000", "127.0.0.2:8001", "127.0.0.3:8001")
        assert told.source.complete.is_set()
        targets = [{"modelRewrite": "llama-v2", "weight": 1}]
        cluster.apply(
            about("InferenceObjective", "urgent", namespace, priority=5),
            about("InferenceModelRewrite", "all", namespace, rules=[{"targets": targets}]),
        )
        await told.until(
            lambda: len(told.found.manifests.objectives) + len(told.found.manifests.rewrites) == 2
        )
        await kubelet.delete(namespace, "a")  # Terminating, and still Ready
        await told.until_serves(key, "127.0.0.3:8001")
        await kubelet.gone(namespace, "a")
        await kubelet.status(namespace, "c", ready=True)
        await told.until_serves(key, "127.0.0.3:8001", "127.0.0.4:8000", "127.0.0.4:8001")
        assert told.found.refusals == ()
        assert told.errors == []


async def test_a_pool_that_is_made_again_serves_again(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path
) -> None:
    """With what is about it, which was there all the time. Another pool of the namespace is not this picker's."""
    key = f"{namespace}/llama"
    cluster.apply(
        pool(namespace=namespace), pool("other", namespace), about("InferenceObjective", "urgent", namespace)
    )
    await kubelet.run(namespace, "a", "127.0.0.2", LABELS)
    async with following(account, Scope(namespace, "llama")) as told:
        await told.until_serves(key, "127.0.0.2:8000")
        cluster.kubectl("delete", "inferencepool.v1.inference.networking.k8s.io", "llama", "-n", namespace)
        await told.until(lambda: not told.found.pools)
        cluster.apply(pool(namespace=namespace, targetPorts=[{"number": 9000}]))
        await told.until_serves(key, "127.0.0.2:9000")
        assert list(told.found.pools) == [key]
        assert [each.name for each in told.found.manifests.objectives] == ["urgent"]


async def test_a_watch_that_is_cut_goes_on_where_it_was(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path
) -> None:
    """Nothing is listed anew, and what happened in between is told; what was known serves meanwhile."""
    key = f"{namespace}/llama"
    cluster.apply(pool(namespace=namespace))
    await kubelet.run_many(namespace, {f"gpu-{n}": f"127.0.0.{n}" for n in range(1, 4)}, LABELS)
    async with line(cluster) as wire_to, following(wire_to.kubeconfig(account), Scope(namespace)) as told:
        await told.until(lambda: len(told.addresses(key)) == 3)
        pods = told.source._reflectors[0]
        for number in (1, 2):
            wire_to.whole = False
            wire_to.cut()
            await kubelet.delete(namespace, f"gpu-{number}", 0)
            await kubelet.run(namespace, f"new-{number}", f"127.0.1.{number}", LABELS)
            assert len(told.addresses(key)) == 3
            wire_to.whole = True
            await told.until(lambda number=number: f"127.0.1.{number}:8000" in told.addresses(key))  # type: ignore[misc]
        await told.until_serves(key, "127.0.0.3:8000", "127.0.1.1:8000", "127.0.1.2:8000")
        assert pods.counts.lists == 1


async def test_pods_can_be_served_without_a_pool(
    cluster: Cluster, namespace: str, api: Api, kubelet: Kubelet, account: Path
) -> None:
    """By any selector that Kubernetes understands: the API server selects."""
    selector = "app in (llama,mistral),!canary"
    flags = Named(kubeconfig=account, namespace=namespace, selector=selector, target_ports="8000,8001")
    cluster_settings = followed(PickerSettings(paths=()), flags).cluster
    assert cluster_settings is not None
    await kubelet.run(namespace, "a", "127.0.0.2", LABELS)
    await kubelet.run(namespace, "b", "127.0.0.3", {**LABELS, "canary": "yes"})
    async with following(account, cluster_settings.scope, cluster_settings.pod_labels) as told:
        await told.until_serves(f"{namespace}/standalone", "127.0.0.2:8000", "127.0.0.2:8001")
        await api.patch(f"/api/v1/namespaces/{namespace}/pods/b", {"metadata": {"labels": {"canary": None}}})
        await told.until(lambda: len(told.addresses(f"{namespace}/standalone")) == 4)
        await api.patch(f"/api/v1/namespaces/{namespace}/pods/a", {"metadata": {"labels": {"app": "x"}}})
        await told.until_serves(f"{namespace}/standalone", "127.0.0.3:8000", "127.0.0.3:8001")


async def test_two_hundred_changes_in_a_second_come_as_a_few(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path
) -> None:
    """And the last of them counts."""
    key = f"{namespace}/llama"
    cluster.apply(pool(namespace=namespace))
    addresses = {f"gpu-{number}": f"127.0.1.{number}" for number in range(1, 101)}
    await kubelet.run_many(namespace, addresses, LABELS)
    async with following(account, Scope(namespace)) as told:
        await told.until(lambda: len(told.addresses(key)) == 100)
        before = told.times
        for ready in (False, True):
            async with asyncio.TaskGroup() as group:
                for name in addresses:
                    group.create_task(kubelet.status(namespace, name, ready=ready or name == "gpu-7"))
        await kubelet.status(namespace, "gpu-7", ready=False)
        await told.until(
            lambda: told.addresses(key) == {f"{ip}:8000" for name, ip in addresses.items() if name != "gpu-7"}
        )
        assert told.times - before <= 150


async def test_what_may_not_be_seen_is_named(cluster: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """Once, with verb and resource; and it is served as soon as somebody allows it."""
    cluster.apply(pool(namespace=namespace))
    await kubelet.run(namespace, "a", "127.0.0.2", LABELS)
    path = cluster.service_account(
        namespace, "picker", ROLE.replace("resources: [inferencepools]", "resources: [other]")
    )
    with structlog.testing.capture_logs() as logs:
        async with following(path, Scope(namespace)) as told:
            pools = told.source._reflectors[1]
            async with asyncio.timeout(20):
                while pools.counts.failures < 2:
                    await asyncio.sleep(0.02)
            assert told.times == 0
            cluster.service_account(namespace, "picker", ROLE)
            await told.until_serves(f"{namespace}/llama", "127.0.0.2:8000")
    (said,) = [each for each in logs if each["event"] == "watch_interrupted"]
    assert 'cannot list resource "inferencepools"' in said["problem"]
    assert (
        'the verbs list and watch on inferencepools in apiGroups ["inference.networking.k8s.io"]'
        in said["hint"]
    )


async def test_an_unknown_pool_is_said_with_the_nearest_that_is_there(
    cluster: Cluster, namespace: str, account: Path
) -> None:
    """The picker is not ready until it is made."""
    cluster.apply(pool(namespace=namespace))
    with structlog.testing.capture_logs() as logs:
        async with following(account, Scope(namespace, "lama")) as told:
            async with asyncio.timeout(20):
                while not any(each["event"] == "no_such_pool" for each in logs):
                    await asyncio.sleep(0.02)
            assert not told.source.complete.is_set()
            cluster.apply(pool("lama", namespace))
            await told.until(lambda: bool(told.found.pools))
            async with asyncio.timeout(5):
                await told.source.complete.wait()
    (said,) = [each for each in logs if each["event"] == "no_such_pool"]
    assert said["hint"] == f"did you mean {namespace}/llama?"


@asynccontextmanager
async def kubelet_of(cluster: Cluster) -> AsyncIterator[Kubelet]:
    """Give what makes Pods in a cluster of the test's own."""
    api = Api(cluster)
    try:
        yield Kubelet(api)
    finally:
        await api.aclose()


def install_crds(cluster: Cluster) -> None:
    """Make the kinds of ours known."""
    cluster.apply(crds())
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")


async def test_crds_may_come_later(own_cluster: Cluster) -> None:
    """Without that for pools it waits; what it need not have is said once and looked for again, slowly."""
    own_cluster.kubectl("create", "namespace", "llm")
    path = own_cluster.service_account("llm", "picker", ROLE)
    with structlog.testing.capture_logs() as logs:
        async with kubelet_of(own_cluster) as kubelet, following(path, Scope("llm")) as told:
            async with asyncio.timeout(20):
                while told.source._reflectors[1].counts.failures < 3:
                    await asyncio.sleep(0.02)
            await kubelet.run("llm", "a", "127.0.0.2", LABELS)
            assert told.times == 0
            await asyncio.to_thread(install_crds, own_cluster)
            objective = about("InferenceObjective", "urgent", "llm")
            await asyncio.to_thread(own_cluster.apply, pool(namespace="llm"), objective)
            await told.until_serves("llm/llama", "127.0.0.2:8000")
            await told.until(lambda: bool(told.found.manifests.objectives))
    absent = [
        each["resource"] for each in logs if each["event"] == "watch_interrupted" and each["status"] == 404
    ]
    assert sorted(absent) == sorted(set(absent)), "said once each"


async def test_an_api_server_that_dies_and_comes_back_is_followed_again(own_cluster: Cluster) -> None:
    """What was known serves meanwhile; what was deleted while it was away is told. A frozen etcd is no reason to forget either."""
    own_cluster.kubectl("create", "namespace", "llm")
    install_crds(own_cluster)
    path = own_cluster.service_account("llm", "picker", ROLE)
    own_cluster.apply(pool(namespace="llm"))
    async with kubelet_of(own_cluster) as kubelet, following(path, Scope("llm")) as told:
        await kubelet.run_many("llm", {f"gpu-{n}": f"127.0.0.{n}" for n in range(1, 4)}, LABELS)
        await told.until(lambda: len(told.addresses("llm/llama")) == 3)
        await asyncio.to_thread(own_cluster.stop_api)
        assert len(told.addresses("llm/llama")) == 3
        await asyncio.to_thread(own_cluster.start_api)
        await kubelet.delete("llm", "gpu-1", 0)
        await told.until_serves("llm/llama", "127.0.0.2:8000", "127.0.0.3:8000")
        with own_cluster.frozen():
            await asyncio.sleep(1.0)
            assert len(told.addresses("llm/llama")) == 2
        await kubelet.run("llm", "gpu-4", "127.0.0.4", LABELS)
        await told.until_serves("llm/llama", "127.0.0.2:8000", "127.0.0.3:8000", "127.0.0.4:8000")
        assert told.source.complete.is_set()


async def test_five_thousand_pods(cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path) -> None:
    """Are listed in pages; a change among them is told at once."""
    cluster.apply(pool(namespace=namespace))
    addresses = {f"gpu-{n}": f"10.1.{n // 250}.{n % 250 + 1}" for n in range(5000)}
    await write_pods(cluster, namespace, addresses, LABELS)
    key = f"{namespace}/llama"
    async with following(account, Scope(namespace)) as told:
        began = time.monotonic()
        await told.until(lambda: len(told.addresses(key)) == 5000, 60)
        print(f"5,000 Pods known after {time.monotonic() - began:.1f} s")
        pods = told.source._reflectors[0]
        assert pods.counts.lists == 10
        for ready in (False, True):
            await kubelet.status(namespace, "gpu-4321", ready=ready)
            await told.until(lambda ready=ready: len(told.addresses(key)) == 4999 + ready)  # type: ignore[misc]
        assert pods.counts.lists == 10


async def test_a_pod_that_becomes_ready_gets_its_first_request_within_half_a_second(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path, tmp_path: Path
) -> None:
    """The whole picker as a process: alive before there is a pool, ready once it is there."""
    arguments = ("epp", "--pool-name", "llama", "--secure-serving=false")
    async with asyncio.timeout(60), picker(tmp_path / "picker.log", account, arguments) as running:
        health = health_pb2_grpc.HealthStub(running.channel)

        async def serving(service: str) -> bool:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        while not await serving("liveness"):
            await asyncio.sleep(0.01)
        assert not await serving("readiness")
        cluster.apply(pool(namespace=namespace))
        await kubelet.run(namespace, "a", "127.0.0.2", LABELS, ready=False)
        await running.ready()
        call = wire.calling(running.channel)
        waits = []
        for _ in range(20):
            await kubelet.status(namespace, "a", ready=True)
            began = time.monotonic()
            while await refused(call):
                pass
            waits.append(time.monotonic() - began)
            await kubelet.status(namespace, "a", ready=False)
            while not await refused(call):
                pass
    assert sorted(waits)[-2] < 0.5


async def refused(call: Any) -> bool:
    """Return whether a request gets an answer instead of an endpoint."""
    messages = [wire.headers("/v1/completions"), wire.body(wire.prompt("m"))]
    replies = [reply async for reply in call(iter(messages))]
    return any(reply.HasField("immediate_response") for reply in replies)
