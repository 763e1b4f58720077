"""From kubectl to an answer: the chart's objects, its picker as its service account, its Envoy, and Pods that are simulated model servers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.kube.api import Api
from tests.kube.cluster import ROOT, Cluster
from tests.kube.containers import Picker, envoy, picker
from tests.kube.helm import template
from tests.kube.node import Node, node

MODEL = "llama-3.1-8b"
VALUES = ("mode=standalone", "inferencePool.modelServers.matchLabels.app=llama")
OBJECTIVE = """\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: urgent}
spec: {poolRef: {name: llama}, priority: 10}
"""
REWRITE = """\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: assistant}
spec:
  poolRef: {name: llama}
  rules:
  - matches: [{model: {value: assistant}}]
    targets: [{modelRewrite: llama-3.1-8b, weight: 1}]
"""
TWO_MODELS = "targets: [{modelRewrite: llama-3.1-8b, weight: 1}, {modelRewrite: llama-3.1-70b}]"


def pod(name: str) -> str:
    """Return a Pod as the Deployment of the examples would make it."""
    (deployment,) = yaml.safe_load_all((ROOT / "examples/kubernetes/model-servers.yaml").read_text())
    made = deployment["spec"]["template"]
    metadata = {"name": name, "labels": made["metadata"]["labels"]}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made["spec"]})


@dataclass(frozen=True)
class Installed:
    """A namespace in which the chart is installed and runs."""

    cluster: Cluster
    namespace: str
    node: Node
    picker: Picker
    url: str
    http: aiohttp.ClientSession

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace and return what it printed."""
        run = partial(self.cluster.kubectl, "-n", self.namespace, *arguments, stdin=stdin)
        return await asyncio.to_thread(run)

    async def apply(self, *manifests: str) -> None:
        """Apply YAML with kubectl."""
        await self.kubectl("apply", "-f", "-", stdin="\n---\n".join(manifests))

    async def comes_to(self, what: str, ready: str, reason: str) -> str:
        """Wait until `kubectl get` has *ready* and *reason* for an object, and return what `kubectl describe` says of it."""
        conditions = ".status.parents[0].conditions" if what.startswith("infpool") else ".status.conditions"
        written = f'jsonpath={{{conditions}[?(@.type=="Ready")].reason}}={reason}'
        await self.kubectl("wait", f"--for={written}", "--timeout=30s", what)
        row = (await self.kubectl("get", what, "--no-headers")).split()
        assert row[-3:-1] == [ready, reason]
        return re.sub(r"\s+", " ", await self.kubectl("describe", what))

    async def chat(self, model: str = MODEL, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send a request through Envoy and return status and body of the answer."""
        message = {"role": "user", "content": "Hello!"}
        body = {"model": model, "messages": [message], "max_tokens": 4}
        path = "/v1/chat/completions"
        async with self.http.post(f"{self.url}{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def select(self, app: str) -> None:
        """Have the pool select Pods with the label *app*."""
        selector = json.dumps({"spec": {"selector": {"matchLabels": {"app": app}}}})
        await self.kubectl("patch", "infpool", "llama", "--type=merge", "-p", selector)

    async def until_chat(self, status: int) -> None:
        """Return once requests are answered with *status*: the gateway tells only who asks."""
        async with asyncio.timeout(20):
            while (await self.chat())[0] != status:
                await asyncio.sleep(0.02)

    async def metric(self, address: str, name: str, labels: str = "") -> float:
        """Return the sum of the series of *name* that have *labels* on a metrics page."""
        token = {"Authorization": f"Bearer {self.cluster.token}"}
        async with self.http.get(f"http://{address}/metrics", headers=token) as answer:
            page = await answer.text()
        series = re.findall(rf"^{name}({{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        return sum(float(value) for said, value in series if labels in said)


@pytest.fixture
async def installed(cluster: Cluster, namespace: str, api: Api, tmp_path: Path) -> AsyncIterator[Installed]:
    """Give a namespace with the chart in mode `standalone`, whose Pod runs, and three model servers."""
    manifests = template("llama", namespace, *VALUES)
    async with running(cluster, namespace, api, tmp_path, manifests) as made:
        await made.apply(OBJECTIVE, REWRITE, *(pod(f"llama-{number}") for number in range(3)))
        await made.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod", "--all")
        await made.until_chat(200)
        yield made


@asynccontextmanager
async def running(
    cluster: Cluster, namespace: str, api: Api, folder: Path, manifests: str
) -> AsyncIterator[Installed]:
    """Apply *manifests* of the chart and run what its Deployment describes."""
    apply = partial(cluster.kubectl, "apply", "-n", namespace, "-f", "-", stdin=manifests)
    await asyncio.to_thread(apply)
    found = {each["kind"]: each for each in yaml.safe_load_all(manifests) if each}
    (epp,) = found["Deployment"]["spec"]["template"]["spec"]["initContainers"]
    arguments = [each.replace("$(NAMESPACE)", namespace) for each in epp["args"]]
    account = await asyncio.to_thread(cluster.service_account, namespace, "llama-epp", "")
    config = await asyncio.to_thread(cluster.get, "configmap", "llama-epp-envoy", "-n", namespace)
    async with (
        node(api, namespace) as pods,
        picker(folder / "picker.log", account, arguments) as picks,
        envoy(folder, config["data"]["envoy.yaml"], picks.addresses["grpc"]) as url,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
    ):
        await picks.ready()
        yield Installed(cluster, namespace, pods, picks, url, http)
    assert "forbidden" not in picks.said.lower(), picks.said
    assert "Traceback" not in picks.said, picks.said


async def test_requests_reach_pods_by_pool_objective_and_rewrite(installed: Installed) -> None:
    """All three Pods serve; the client's name for the model comes back; the priority counts; kubectl says that all is well."""
    for _ in range(12):
        status, said = await installed.chat()
        assert (status, said["model"]) == (200, MODEL)
    for ip in installed.node.addresses.values():
        assert await installed.metric(f"{ip}:8000", "vllm:request_success_total") >= 1
    await installed.comes_to("inferenceobjectives.llm-d.ai/urgent", "True", "Ready")
    await installed.comes_to("inferencemodelrewrites.llm-d.ai/assistant", "True", "Ready")
    status, said = await installed.chat("assistant", **{"x-gateway-inference-objective": "urgent"})
    assert (status, said["model"]) == (200, "assistant")
    metrics = installed.picker.addresses["metrics"]
    async with asyncio.timeout(5):
        while await installed.metric(metrics, "llm_d_epp_request_total", 'priority="10"') != 1:
            await asyncio.sleep(0.02)
    described = await installed.comes_to("infpool/llama", "True", "Ready")
    assert re.search("[1-3] endpoints? at [1-3] of 3 Pods with the labels app=llama", described)


async def test_a_pod_that_is_deleted_gets_no_more_requests_and_a_new_one_does(installed: Installed) -> None:
    """Without anybody being told but the API server."""
    await installed.kubectl("delete", "pod", "llama-0", "llama-1")
    await installed.apply(pod("llama-3"))
    await installed.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod", "--all")
    async with asyncio.timeout(20):
        address = f"{installed.node.addresses['llama-3']}:8000"
        while not await installed.metric(address, "vllm:request_success_total"):
            assert (await installed.chat())[0] == 200


async def test_kubectl_tells_what_is_wrong_and_requests_go_on_where_they_can(installed: Installed) -> None:
    """A rewrite that cannot be used, a Service that is missing, a selector that no Pod has; each is well again when it is mended."""
    rewrite, pool = "inferencemodelrewrites.llm-d.ai/assistant", "infpool/llama"
    await installed.comes_to(rewrite, "True", "Ready")
    await installed.apply(re.sub("targets: .*", TWO_MODELS, REWRITE))
    said = await installed.comes_to(rewrite, "False", "Refused")
    assert "$.spec.rules[0].targets[1].weight: is missing" in said
    assert "before stays in force" in said
    assert (await installed.chat("assistant"))[0] == 200
    await installed.apply(REWRITE)
    await installed.comes_to(rewrite, "True", "Ready")

    service = await installed.kubectl("get", "service", "llama-epp", "-o", "yaml")
    await installed.kubectl("delete", "service", "llama-epp")
    said = await installed.comes_to(pool, "False", "InvalidExtensionRef")
    assert f"there is no Service {installed.namespace}/llama-epp" in said
    assert (await installed.chat())[0] == 200
    await installed.apply(_without_identity(service))
    await installed.comes_to(pool, "True", "Ready")

    await installed.select("lama")
    said = await installed.comes_to(pool, "False", "NoPods")
    assert f"no Pod of {installed.namespace} has the labels app=lama" in said
    await installed.until_chat(503)
    await installed.select("llama")
    await installed.comes_to(pool, "True", "Ready")
    await installed.until_chat(200)


def _without_identity(written: str) -> str:
    """Return an object as `kubectl get` wrote it, so that it can be made again."""
    found = yaml.safe_load(written)
    for field in ("resourceVersion", "uid", "creationTimestamp"):
        del found["metadata"][field]
    return yaml.safe_dump(found)
