"""What a picker says of objects on a real API server: as kubectl shows it, beside what others say, and no more often than needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from igw.discovery.cluster import Scope
from igw.discovery.reporting import ReportSettings
from igw.kubernetes.conditions import CONTROLLER
from igw.kubernetes.kinds import OLD_GROUP, POOL_GROUP
from igw.kubernetes.status import Rate
from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.kubelet import Kubelet
from tests.kube.test_discovery import LABELS, ROLE, Told, about, following, pool

QUICK = Rate(between=0.005, object=0.05, words=0.2, longest=5.0)
POOLS = "inferencepools.inference.networking.k8s.io"
TARGETS = [{"modelRewrite": "a", "weight": 1}, {"modelRewrite": "b"}]


@pytest.fixture
def account(cluster: Cluster, namespace: str) -> Path:
    """Give the kubeconfig of a picker in the test's namespace, with the Role of the documentation."""
    return cluster.service_account(namespace, "picker", ROLE)


@asynccontextmanager
async def reporting(
    kubeconfig: Path, scope: Scope, identity: str = "a", rate: Rate = QUICK
) -> AsyncIterator[Told]:
    """Follow *scope* and say what is true of it, without an election."""
    async with following(kubeconfig, scope, report=ReportSettings(identity, rate=rate)) as told:
        yield told


def counted(told: Told, name: str) -> dict[str, float]:
    """Return a counter by the first of its labels."""
    (family,) = [each for each in told.source.collect() if each.name == name]
    return {next(iter(each.labels.values())): each.value for each in family.samples}


def service(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Return a Service of a picker."""
    meta = {"name": name, "namespace": namespace}
    said = {"ports": [{"port": 9002}], "selector": {"app": "epp"}, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": said}


def conditions(status: dict[str, Any]) -> dict[str, str]:
    """Return `status reason` of each condition of ours."""
    entries = status.get("parents") or status.get("parent")
    if entries is not None:
        status = next((each for each in entries if each.get("controllerName", CONTROLLER) == CONTROLLER), {})
    return {each["type"]: f"{each['status']} {each['reason']}" for each in status.get("conditions", ())}


def messages(status: dict[str, Any]) -> dict[str, str]:
    """Return the message of each condition of ours."""
    entries = status.get("parents") or [status]
    return {each["type"]: each["message"] for entry in entries for each in entry.get("conditions", ())}


class Seen:
    """What the API server has of one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def path(self, name: str, plural: str = "inferencepools", version: str = f"{POOL_GROUP}/v1") -> str:
        return f"/apis/{version}/namespaces/{self._namespace}/{plural}/{name}"

    async def until(self, path: str, reached: Callable[[dict[str, str]], bool]) -> dict[str, Any]:
        """Return the object at *path* once its conditions make *reached* true."""
        async with asyncio.timeout(20):
            while True:
                found: dict[str, Any] = await self._api.ask("GET", path)
                if reached(conditions(found.get("status", {}))):
                    return found
                await asyncio.sleep(0.02)

    async def ready(self, path: str, said: str) -> dict[str, Any]:
        """Return the object at *path* once its condition `Ready` is *said*."""
        return await self.until(path, lambda found: found.get("Ready") == said)

    async def events(self) -> list[dict[str, Any]]:
        """Return all Events."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self._namespace}/events"
        found: list[dict[str, Any]] = (await self._api.ask("GET", path))["items"]
        return found


@pytest.fixture
def seen(api: Api, namespace: str) -> Seen:
    """Give what the API server has of the test's namespace."""
    return Seen(api, namespace)


OBJECTIVES = ("inferenceobjectives", "llm-d.ai/v1alpha2")
REWRITES = ("inferencemodelrewrites", "llm-d.ai/v1alpha2")


async def test_kubectl_tells_what_is_wrong(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path, seen: Seen
) -> None:
    """In short with `get`, in words with `describe`, with the Event; as an account that may do no more than the Role allows."""
    bare = {**about("InferenceObjective", "bare", namespace)}
    del bare["spec"]
    cluster.apply(
        pool(namespace=namespace),
        service("epp", namespace),
        about("InferenceObjective", "urgent", namespace, priority=5),
        about("InferenceObjective", "lost", namespace, poolRef={"name": "lama"}),
        bare,
        about("InferenceModelRewrite", "mixed", namespace, rules=[{"targets": TARGETS}]),
        about("InferenceModelRewrite", "all", namespace, rules=[{"targets": TARGETS[:1]}]),
    )
    await kubelet.run(namespace, "gpu-0", "127.0.0.2", LABELS)
    await kubelet.run(namespace, "gpu-1", "127.0.0.3", LABELS, ready=False)
    with structlog.testing.capture_logs() as logs:
        async with reporting(account, Scope(namespace, "llama")):
            await seen.ready(seen.path("llama"), "True Ready")
            await seen.ready(seen.path("bare", *OBJECTIVES), "False Refused")
            await seen.ready(seen.path("lost", *OBJECTIVES), "False PoolNotFound")
            await seen.ready(seen.path("urgent", *OBJECTIVES), "True Ready")
            await seen.ready(seen.path("mixed", *REWRITES), "False Refused")
            await seen.ready(seen.path("all", *REWRITES), "True Ready")
            async with asyncio.timeout(10):
                while len(await seen.events()) < 3:
                    await asyncio.sleep(0.02)

    def kubectl(*arguments: str) -> str:
        return cluster.kubectl(*arguments, "-n", namespace)

    def rows(what: str) -> dict[str, str]:
        """Return the lines of a table by their first word, without the age."""
        lines = [re.sub(r"\s+", " ", line) for line in kubectl("get", what).splitlines()]
        return {line.split(" ")[0]: " ".join(line.split(" ")[1:-1]) for line in lines}

    assert rows("infpool")["llama"] == "True Ready"
    assert rows("inferenceobjectives.llm-d.ai") == {
        "NAME": "INFERENCE POOL PRIORITY READY REASON",
        "bare": "False Refused",
        "lost": "lama False PoolNotFound",
        "urgent": "llama 5 True Ready",
    }
    assert rows("inferencemodelrewrites.llm-d.ai")["mixed"] == "llama False Refused"
    sentence = (
        "$.spec.rules[0].targets[1].weight: is missing, while other targets of the rule have one "
        "(write all weights of a rule, or none)"
    )
    described = kubectl("describe", "inferencemodelrewrites.llm-d.ai", "mixed")
    assert re.search(rf"Warning  Refused .* {CONTROLLER}  {re.escape(sentence)}", described)
    assert described.count(sentence) == 3
    wide = kubectl("get", "inferenceobjectives.llm-d.ai", "-o", "wide")
    assert "$: the required field `spec` is missing" in wide
    assert (
        f"there is no InferencePool {namespace}/lama in {POOL_GROUP} (did you mean {namespace}/llama?)"
        in wide
    )
    assert "1 endpoint at 1 of 2 Pods with the labels app=llama" in kubectl("get", "infpool", "-o", "wide")
    assert not [each for each in logs if each["event"].endswith("not_written")]


async def test_a_pool_says_which_part_of_it_is_missing(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path, seen: Seen
) -> None:
    """The Service of its picker, the Service's port, Pods, ready Pods; and that all is well once it is."""
    ref = {"name": "epp", "port": {"number": 9002}, "failureMode": "FailOpen"}
    cluster.apply(pool(namespace=namespace, endpointPickerRef=ref))
    path = seen.path("llama")
    async with reporting(account, Scope(namespace)):
        said = messages((await seen.ready(path, "False InvalidExtensionRef"))["status"])
        assert said["ResolvedRefs"].startswith(
            f"$.spec.endpointPickerRef.name: there is no Service {namespace}/epp"
        )
        assert said["ResolvedRefs"].endswith("gateways send requests to any endpoint meanwhile (FailOpen)")
        cluster.apply(service("epp", namespace, ports=[{"port": 9003}]))
        async with asyncio.timeout(10):
            while (
                "has no port 9002 (it has 9003)"
                not in messages((await seen.until(path, bool))["status"])["Ready"]
            ):
                await asyncio.sleep(0.02)
        cluster.apply(service("epp", namespace, ports=[{"port": 9002}]))
        said = messages((await seen.ready(path, "False NoPods"))["status"])
        assert said["Ready"] == f"no Pod of {namespace} has the labels app=llama"
        await kubelet.run(namespace, "gpu-0", "127.0.0.2", LABELS, ready=False)
        said = messages((await seen.ready(path, "False NoReadyPods"))["status"])
        assert said["Ready"] == "none of 1 Pod with the labels app=llama is ready"
        await kubelet.status(namespace, "gpu-0", ready=True)
        await seen.ready(path, "True Ready")


async def test_what_others_say_of_a_pool_stays(
    cluster: Cluster, namespace: str, api: Api, account: Path, seen: Seen
) -> None:
    """To the letter and in its place, whoever writes first; and a condition's time is when it became so."""
    cluster.apply(pool(namespace=namespace), service("epp", namespace))
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "ours too",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    gateway: dict[str, Any] = {
        "parentRef": {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": "web",
            "namespace": "x",
        },
        "controllerName": "example.net/gateway",
        "conditions": [condition],
    }
    path = seen.path("llama")
    await api.patch(f"{path}/status", {"status": {"parents": [gateway]}})
    async with reporting(account, Scope(namespace)) as told:
        first, ours = (await seen.ready(path, "False NoPods"))["status"]["parents"]
        assert first == gateway
        assert ours["parentRef"] == {"group": "", "kind": "Service", "name": "epp", "namespace": namespace}
        other = {**gateway, "parentRef": {**gateway["parentRef"], "name": "late"}}
        await api.patch(f"{path}/status", {"status": {"parents": [ours, other, gateway]}})
        await api.patch(path, {"spec": {"appProtocol": "kubernetes.io/h2c"}})

        def is_judged() -> bool:
            return counted(told, "igw_status_writes")[POOLS] >= 2

        async with asyncio.timeout(10):
            while not is_judged():
                await asyncio.sleep(0.02)
        after = (await api.ask("GET", path))["status"]["parents"]
        assert after[1:] == [other, gateway]
        assert [each["observedGeneration"] for each in after[0]["conditions"]] == [2, 2, 2]
        times = [each["lastTransitionTime"] for each in ours["conditions"]]
        assert [each["lastTransitionTime"] for each in after[0]["conditions"]] == times


async def test_an_older_pool_is_reported_on_too(
    cluster: Cluster, namespace: str, account: Path, seen: Seen
) -> None:
    """In the field of its version, in place of the parent that stands for nobody, once."""
    old = f"{OLD_GROUP}/v1alpha2"
    meta = {"name": "llama", "namespace": namespace}
    spec = {"selector": LABELS, "targetPortNumber": 8000, "extensionRef": {"name": "epp"}}
    cluster.apply({"apiVersion": old, "kind": "InferencePool", "metadata": meta, "spec": spec})
    role = ROLE.replace("apiGroups: [inference.networking.k8s.io]", f"apiGroups: [{OLD_GROUP}]")
    path = seen.path("llama", version=old)
    old_account = cluster.service_account(namespace, "older", role)
    async with reporting(old_account, Scope(namespace, pool_group=OLD_GROUP)) as told:
        await seen.ready(path, "False InvalidExtensionRef")
        cluster.apply(service("epp", namespace))
        (entry,) = (await seen.ready(path, "False NoPods"))["status"]["parent"]
        assert entry["parentRef"]["kind"] == "Service"
        await settled(told)
        assert counted(told, "igw_status_writes")[f"inferencepools.{OLD_GROUP}"] == 2
    assert "False NoPods" in re.sub(r"\s+", " ", cluster.kubectl("get", "xinfpool", "-n", namespace))


async def settled(told: Told, seconds: float = 0.5) -> None:
    """Let time pass in which a picker that had something to write would have written it."""
    assert told.source._reporting is not None
    told.source._reporting.look()
    await asyncio.sleep(seconds)


async def test_nothing_is_written_that_is_there(
    cluster: Cluster, namespace: str, kubelet: Kubelet, account: Path, seen: Seen
) -> None:
    """Not by the same picker, not by a second one, not when something else changes; the API server keeps the same versions."""
    objects = [about("InferenceObjective", f"o{number}", namespace, priority=number) for number in range(5)]
    cluster.apply(pool(namespace=namespace), service("epp", namespace), *objects)
    await kubelet.run(namespace, "gpu-0", "127.0.0.2", LABELS)
    paths = [seen.path("llama"), *(seen.path(f"o{number}", *OBJECTIVES) for number in range(5))]
    async with reporting(account, Scope(namespace)) as told:
        before = [(await seen.ready(path, "True Ready"))["metadata"]["resourceVersion"] for path in paths]
        assert counted(told, "igw_status_writes") == {POOLS: 1, "inferenceobjectives.llm-d.ai": 5}
        await kubelet.run(namespace, "other", "127.0.0.9", {"app": "other"})
        async with reporting(account, Scope(namespace), "b") as second:
            async with asyncio.timeout(20):
                await second.source.complete.wait()
            await settled(second)
            assert counted(second, "igw_status_writes") == {}
        await settled(told)
        assert counted(told, "igw_status_writes") == {POOLS: 1, "inferenceobjectives.llm-d.ai": 5}
    after = [(await seen.ready(path, "True Ready"))["metadata"]["resourceVersion"] for path in paths]
    assert after == before


async def test_who_may_not_write_one_kind_writes_the_others(
    cluster: Cluster, namespace: str, seen: Seen
) -> None:
    """The missing permission is said once, with the cure; when it is given, the rest is written."""
    cluster.apply(
        pool(namespace=namespace),
        service("epp", namespace),
        *(about("InferenceObjective", f"o{number}", namespace) for number in range(3)),
    )
    rule = "resources: [inferencepools/status]"
    account = cluster.service_account(namespace, "picker", ROLE.replace(rule, "resources: [other]"))
    with structlog.testing.capture_logs() as logs:
        async with reporting(account, Scope(namespace)) as told:
            for number in range(3):
                await seen.ready(seen.path(f"o{number}", *OBJECTIVES), "True Ready")
            async with asyncio.timeout(10):
                while counted(told, "igw_status_write_failures").get(POOLS, 0) < 2:
                    await asyncio.sleep(0.02)
            cluster.service_account(namespace, "picker", ROLE)
            await seen.ready(seen.path("llama"), "False NoPods")
    (said,) = [each for each in logs if each["event"] == "status_not_written"]
    assert said["status"] == 403
    assert said["hint"].endswith(f'the verb patch on inferencepools/status in apiGroups ["{POOL_GROUP}"]')


async def test_without_services_in_the_role_references_are_not_judged(
    cluster: Cluster, namespace: str, seen: Seen
) -> None:
    """Not known is neither there nor missing."""
    cluster.apply(pool(namespace=namespace))
    role = ROLE.replace("resources: [services]", "resources: [other]")
    account = cluster.service_account(namespace, "picker", role)
    async with reporting(account, Scope(namespace)):
        found = await seen.ready(seen.path("llama"), "False NoPods")
    assert conditions(found["status"])["ResolvedRefs"] == "Unknown NotAllowed"


async def test_who_undoes_our_writes_is_given_way_to(
    cluster: Cluster, namespace: str, api: Api, account: Path, seen: Seen
) -> None:
    """A controller that writes the whole list for itself makes neither of the two run hot."""
    cluster.apply(pool(namespace=namespace), service("epp", namespace))
    path = seen.path("llama")
    async with reporting(account, Scope(namespace)) as told:
        undone = 0
        until = asyncio.get_running_loop().time() + 3.0
        while asyncio.get_running_loop().time() < until:
            if (await api.ask("GET", path)).get("status", {}).get("parents"):
                await api.patch(f"{path}/status", {"status": {"parents": []}})
                undone += 1
            await asyncio.sleep(0.01)
        assert 3 <= undone <= 8  # waits of 0.05 s that double
        assert counted(told, "igw_status_writes")[POOLS] <= undone + 1


async def test_two_hundred_objects_are_all_judged(
    cluster: Cluster, namespace: str, api: Api, account: Path, seen: Seen
) -> None:
    """Changed within a second while they are being written about; Events are fewer."""
    objects = [
        about("InferenceModelRewrite", f"r{number}", namespace, rules=[{"targets": TARGETS}])
        for number in range(200)
    ]
    async with reporting(account, Scope(namespace)) as told:
        cluster.apply(pool(namespace=namespace), service("epp", namespace), *objects)
        good = {"spec": {"rules": [{"targets": TARGETS[:1]}]}}
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(api.patch(seen.path(f"r{number}", *REWRITES), good))
        for number in range(200):
            said = "True Ready" if number < 100 else "False Refused"
            path = seen.path(f"r{number}", *REWRITES)
            await seen.until(path, lambda found, said=said: found.get("Ready") == said)  # type: ignore[misc]
        assert counted(told, "igw_status_writes")[f"{REWRITES[0]}.llm-d.ai"] >= 200
        assert 20 <= len(await seen.events()) <= 40


async def test_a_problem_that_comes_back_is_one_event(
    cluster: Cluster, namespace: str, api: Api, account: Path, seen: Seen
) -> None:
    """With a count."""
    cluster.apply(
        pool(namespace=namespace),
        about("InferenceModelRewrite", "all", namespace, rules=[{"targets": TARGETS}]),
    )
    path = seen.path("all", *REWRITES)
    async with reporting(account, Scope(namespace)):
        for targets, said in ((TARGETS[:1], "True Ready"), (TARGETS, "False Refused")) * 2:
            await seen.ready(path, "False Refused" if said == "True Ready" else "True Ready")
            await api.patch(path, {"spec": {"rules": [{"targets": targets}]}})
            await seen.ready(path, said)
        async with asyncio.timeout(10):
            while True:
                events = [each for each in await seen.events() if each["regarding"]["name"] == "all"]
                if sum(each.get("series", {}).get("count", 1) for each in events) >= 3:
                    break
                await asyncio.sleep(0.02)
    assert {each["reason"] for each in events} == {"Refused"}
    kept = [each for each in events if "before stays in force" in each["note"]]
    assert [each["series"]["count"] for each in kept] == [2]
    assert len(events) == 2
    assert {each["reportingController"] for each in events} == {CONTROLLER}
