"""Who leads, by a Lease on a real API server: one at a time, whatever clocks and servers do, and all of them serve."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from igw.discovery.cluster import Scope
from igw.discovery.reporting import ReportSettings
from igw.kubernetes.client import configuration, connection
from igw.kubernetes.electing import Elector
from igw.kubernetes.leases import Election, Lease, Timing
from tests.extproc import wire
from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.containers import picker
from tests.kube.kubelet import Kubelet
from tests.kube.test_discovery import LABELS, ROLE, Told, about, following, pool, refused
from tests.kube.test_status import OBJECTIVES, POOLS, QUICK, Seen, counted, service

TIMING = Timing(lease_seconds=2.0, renew_seconds=1.2, retry_seconds=0.2)
NAME = "igw-llama.inference.networking.k8s.io"


@pytest.fixture
def account(cluster: Cluster, namespace: str) -> Path:
    """Give the kubeconfig of a picker in the test's namespace, with the Role of the documentation."""
    return cluster.service_account(namespace, "picker", ROLE)


@pytest.fixture
def seen(api: Api, namespace: str) -> Seen:
    """Give what the API server has of the test's namespace."""
    return Seen(api, namespace)


@asynccontextmanager
async def replica(kubeconfig: Path, namespace: str, identity: str) -> AsyncIterator[Told]:
    """Run one of several pickers for the pool llama."""
    report = ReportSettings(identity, NAME, TIMING, QUICK)
    async with following(kubeconfig, Scope(namespace, "llama"), report=report) as told:
        yield told


def leads(told: Told) -> bool:
    """Return whether a replica says that it leads."""
    (family,) = [each for each in told.source.collect() if each.name == "igw_leader"]
    return bool(family.samples[0].value)


async def until(reached: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return when *reached* is true."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.01)


async def holder(api: Api, namespace: str) -> dict[str, Any]:
    """Return what the Lease says."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}"
    spec: dict[str, Any] = (await api.ask("GET", path))["spec"]
    return spec


async def test_one_of_two_replicas_writes_and_both_serve(
    cluster: Cluster, namespace: str, api: Api, kubelet: Kubelet, account: Path, seen: Seen
) -> None:
    """With the documentation's Role. When the leader goes it gives the Lease back, and the other need not wait for its end."""
    cluster.apply(pool(namespace=namespace), service("epp", namespace))
    await kubelet.run(namespace, "gpu-0", "127.0.0.2", LABELS)
    async with AsyncExitStack() as stays:
        async with replica(account, namespace, "first") as first:
            await until(lambda: leads(first))
            second = await stays.enter_async_context(replica(account, namespace, "second"))
            for each in (first, second):
                await each.until_serves(f"{namespace}/llama", "127.0.0.2:8000")
                async with asyncio.timeout(10):
                    await each.source.complete.wait()
            await seen.ready(seen.path("llama"), "True Ready")
            assert counted(first, "igw_status_writes") == {POOLS: 1}
            assert counted(second, "igw_status_writes") == {}
            assert not leads(second)
        cluster.apply(about("InferenceObjective", "urgent", namespace))
        await until(lambda: leads(second), TIMING.lease_seconds)
        await seen.ready(seen.path("urgent", *OBJECTIVES), "True Ready")
        assert (await holder(api, namespace))["holderIdentity"] == "second"


@asynccontextmanager
async def elector(
    kubeconfig: Path, namespace: str, identity: str, timing: Timing = TIMING
) -> AsyncIterator[Elector]:
    """Take part in an election; at the end of the block it dies and gives nothing back."""
    async with connection(configuration(kubeconfig)) as http:
        election = Election(identity, random.random, timing)
        made = Elector(http, NAME, namespace, election, lambda: None)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            election.saw(Lease("nobody"), 0.0)  # so that there is nothing to give back
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_who_dies_is_replaced_when_the_lease_is_over(namespace: str, api: Api, account: Path) -> None:
    """Not before, and never are there two."""
    clock = asyncio.get_running_loop().time
    async with elector(account, namespace, "dies") as first:
        await until(first.leads)
    died = clock()
    async with elector(account, namespace, "a") as a, elector(account, namespace, "b") as b:
        while not a.leads() and not b.leads():
            await asyncio.sleep(0.01)
        assert clock() - died > TIMING.lease_seconds - TIMING.retry_seconds * 2.2
        for _ in range(50):
            assert a.leads() != b.leads()
            await asyncio.sleep(0.01)
        spec = await holder(api, namespace)
        assert spec["holderIdentity"] == ("a" if a.leads() else "b")
        assert spec["leaseTransitions"] == 1


async def test_a_leader_that_is_killed_is_replaced_and_nobody_waits_for_it(
    cluster: Cluster, namespace: str, api: Api, account: Path, tmp_path: Path
) -> None:
    """Two processes with the timing of the product; the one that is left serves at once, and writes when the Lease is over."""
    seen = Seen(api, namespace)
    cluster.apply(pool(namespace=namespace), service("epp", namespace))
    await Kubelet(api).run(namespace, "gpu-0", "127.0.0.2", LABELS)
    flags = ("epp", "--pool-name", "llama", "--secure-serving=false", "--ha-enable-leader-election")
    async with AsyncExitStack() as stays:
        first = await stays.enter_async_context(picker(tmp_path / "a.log", account, flags, pod="a"))
        await seen.ready(seen.path("llama"), "True Ready")
        second = await stays.enter_async_context(picker(tmp_path / "b.log", account, flags, pod="b"))
        await second.ready()
        first.process.kill()
        await first.process.wait()
        cluster.apply(about("InferenceObjective", "urgent", namespace))
        assert not await refused(wire.calling(second.channel))
        await seen.ready(seen.path("urgent", *OBJECTIVES), "True Ready")
        assert (await holder(api, namespace))["holderIdentity"].startswith("b_")


@pytest.mark.parametrize("when", ["1990-01-01T00:00:00.000000Z", "2090-01-01T00:00:00.000000Z"])
async def test_what_time_others_have_does_not_matter(
    namespace: str, api: Api, account: Path, when: str
) -> None:
    """A Lease that is renewed is left alone, and one that is not is taken, an hour or a century off."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    spec = {"holderIdentity": "other", "leaseDurationSeconds": 2, "acquireTime": when, "renewTime": when}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": NAME},
        "spec": spec,
    }
    await api.ask("POST", path, lease)
    async with elector(account, namespace, "ours") as ours:
        for number in range(16):
            renewed = f"{when[:-7]}{number:06}Z"
            await api.patch(f"{path}/{NAME}", {"spec": {"renewTime": renewed}})
            await asyncio.sleep(0.15)
            assert not ours.leads()
        await until(ours.leads, 8)


async def test_who_cannot_renew_stops_before_another_may_begin(own_cluster: Cluster) -> None:
    """If etcd hangs the leader ends by its own clock; when it moves again there is one leader."""
    await asyncio.to_thread(own_cluster.kubectl, "create", "namespace", "llm")
    account = await asyncio.to_thread(own_cluster.service_account, "llm", "picker", ROLE)
    clock = asyncio.get_running_loop().time
    async with elector(account, "llm", "a") as a, elector(account, "llm", "b") as b:
        await until(lambda: a.leads() or b.leads())
        with own_cluster.frozen():
            froze = clock()
            await until(lambda: not a.leads() and not b.leads(), TIMING.renew_seconds + 0.5)
            assert clock() - froze <= TIMING.lease_seconds
            await asyncio.sleep(TIMING.lease_seconds)
            assert not a.leads()
            assert not b.leads()
        await until(lambda: a.leads() != b.leads())


async def test_a_missing_permission_is_said_once(cluster: Cluster, namespace: str) -> None:
    """With the cure, and tried again."""
    role = ROLE.replace("verbs: [get, create, update]", "verbs: [get]")
    account = cluster.service_account(namespace, "picker", role)
    with structlog.testing.capture_logs() as logs:
        async with elector(account, namespace, "a") as ours:
            await asyncio.sleep(1.0)
            assert not ours.leads()
            cluster.service_account(namespace, "picker", ROLE)
            await until(ours.leads)
    said = [each for each in logs if each["event"] == "lease_not_held"]
    assert [each["status"] for each in said] == [403]
    assert said[0]["hint"].endswith(
        'the verbs get, create and update on leases in apiGroups ["coordination.k8s.io"]'
    )
    assert [each["event"] for each in logs if each["event"] == "leading"] == ["leading"]
