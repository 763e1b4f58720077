"""Our CRDs as users meet them: installed with kubectl, defaults filled in, columns, short names, status."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from igw.kubernetes.crds.definitions import definitions
from tests.kube.api import Api
from tests.kube.cluster import BINARIES, ROOT, Cluster
from tests.kubernetes.crds.limits import CONDITION, IMPORT, OLD, PLURALS, ROUTER, V1, made

NAMES = [each["metadata"]["name"] for each in definitions(legacy=True)]
PENDING = {
    "status": "Unknown",
    "reason": "Pending",
    "message": "Waiting for controller",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}


def test_they_are_installed_as_the_page_says(own_cluster: Cluster) -> None:
    """The commands of docs/kubernetes.md, on a cluster that has none of them."""
    section = (ROOT / "docs" / "kubernetes.md").read_text().partition("## Install the CRDs")[2]
    commands = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[0]
    programs = f"{BINARIES}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        "PATH": programs,
        "KUBECONFIG": str(own_cluster.kubeconfig),
        "HOME": str(own_cluster.folder),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    made_now = {each["metadata"]["name"] for each in own_cluster.get("crds")["items"]}
    assert made_now == {each["metadata"]["name"] for each in definitions()}


@pytest.mark.parametrize("name", NAMES)
def test_the_api_server_finds_nothing_wrong_with_them(cluster: Cluster, name: str) -> None:
    """A name under k8s.io needs an approval; a schema that is not structural would not be pruned."""
    said = cluster.get("crd", name)["status"]["conditions"]
    conditions = {each["type"]: each["status"] for each in said}
    expected = {"NamesAccepted": "True", "Established": "True"}
    if name.endswith("networking.k8s.io") and "x-k8s" not in name:
        expected["KubernetesAPIApprovalPolicyConformant"] = "True"
    assert conditions == expected


async def kept(api: Api, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create an object and return what the API server made of it."""
    path = f"/apis/{body['apiVersion']}/namespaces/{namespace}/{PLURALS[body['kind']]}"
    answer = await api.ask("POST", path, body)
    return {part: answer[part] for part in ("spec", "status") if part in answer}


@pytest.mark.usefixtures("cluster")
async def test_a_pool_gets_its_defaults(api: Api, namespace: str) -> None:
    """HTTP/1.1, a Service of the core group, fail closed. No status: nobody has said anything."""
    assert await kept(api, namespace, made("InferencePool", V1)) == {
        "spec": {
            "selector": {"matchLabels": {"app": "llama"}},
            "targetPorts": [{"number": 8000}],
            "appProtocol": "http",
            "endpointPickerRef": {
                "group": "",
                "kind": "Service",
                "name": "picker",
                "port": {"number": 9002},
                "failureMode": "FailClose",
            },
        }
    }


@pytest.mark.usefixtures("cluster")
async def test_an_old_pool_gets_its_defaults(api: Api, namespace: str) -> None:
    """With the parent that stands for nobody."""
    pool = await kept(api, namespace, made("InferencePool", OLD))
    assert pool["spec"]["extensionRef"] == {
        "group": "",
        "kind": "Service",
        "name": "picker",
        "failureMode": "FailClose",
    }
    (parent,) = pool["status"]["parent"]
    assert parent["parentRef"] == {"group": "gateway.networking.k8s.io", "kind": "Status", "name": "default"}
    assert parent["conditions"] == [{"type": "Accepted", **PENDING}]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("version", [ROUTER, OLD])
async def test_an_objective_and_a_rewrite_are_about_a_pool(api: Api, namespace: str, version: str) -> None:
    """Of the v1 group, in both of their groups. A priority that is not written stays unwritten."""
    objective, rewrite = made("InferenceObjective", version), made("InferenceModelRewrite", version)
    del objective["spec"]["priority"]
    reference = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "llama"}
    assert await kept(api, namespace, objective) == {"spec": {"poolRef": reference}}
    spec = (await kept(api, namespace, rewrite))["spec"]
    assert spec["poolRef"] == reference
    assert spec["rules"][0]["matches"] == [{"model": {"type": "Exact", "value": "a"}}]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("kind", "condition"), [("InferenceObjective", "Ready"), ("InferenceModelRewrite", "Accepted")]
)
async def test_a_status_that_says_nothing_is_pending(
    api: Api, namespace: str, kind: str, condition: str
) -> None:
    """Of the type that upstream's CRD has there."""
    await kept(api, namespace, made(kind, ROUTER))
    path = f"/apis/{ROUTER}/namespaces/{namespace}/{PLURALS[kind]}/llama/status"
    status = (await api.patch(path, {"status": {}}))["status"]
    assert status == {"conditions": [{"type": condition, **PENDING}]}


@pytest.mark.usefixtures("cluster")
async def test_spec_and_status_are_written_apart(api: Api, namespace: str) -> None:
    """Who writes one cannot change the other, and only the first makes a new generation."""
    written = {"parents": [{"parentRef": {"name": "web"}, "conditions": [CONDITION]}]}
    pool = made("InferencePool", V1) | {"status": written}
    assert "status" not in await kept(api, namespace, pool)
    path = f"/apis/{V1}/namespaces/{namespace}/inferencepools/llama"
    both = {"status": written, "spec": {"appProtocol": "kubernetes.io/h2c"}}
    after = await api.patch(f"{path}/status", both)
    assert after["spec"]["appProtocol"] == "http"
    reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}
    assert after["status"] == {"parents": [{"parentRef": reference, "conditions": [CONDITION]}]}
    assert after["metadata"]["generation"] == 1
    after = await api.patch(path, {"status": {"parents": []}, "spec": both["spec"]})
    assert after["spec"]["appProtocol"] == "kubernetes.io/h2c"
    assert len(after["status"]["parents"]) == 1
    assert after["metadata"]["generation"] == 2


def test_kubectl_prints_what_matters(cluster: Cluster, namespace: str) -> None:
    """Short names tell the two kinds of pools apart."""
    objects = [
        made("InferencePool", V1),
        made("InferencePool", OLD) | {"metadata": {"name": "older"}},
        made("InferencePoolImport", IMPORT),
        made("InferenceObjective", ROUTER),
        made("InferenceModelRewrite", ROUTER),
    ]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))

    def table(what: str) -> list[list[str]]:
        printed = cluster.kubectl("get", what, "-n", namespace)
        return [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]

    assert table("infpool")[1][0] == "llama"
    assert table("xinfpool")[1][0] == "older"
    assert table("infpimp")[1][0] == "llama"
    header, row = table("inferenceobjectives.llm-d.ai")
    assert header == ["NAME", "INFERENCE POOL", "PRIORITY", "READY", "REASON", "AGE"]
    assert row[:3] == ["llama", "llama", "1"]
    header, row = table("inferencemodelrewrites.llm-d.ai")
    assert header == ["NAME", "INFERENCE POOL", "READY", "REASON", "AGE"]
    assert row[:2] == ["llama", "llama"]


def test_every_field_is_explained(cluster: Cluster) -> None:
    """`kubectl explain` has words for it."""
    said = cluster.kubectl("explain", "infpool.spec.endpointPickerRef", "--recursive=false")
    assert "The endpoint picker" in said
    assert "What becomes of a request when the endpoint picker does not answer" in said
    assert "<empty>" not in said


def examples() -> list[dict[str, Any]]:
    """Return every object of ours that `examples/` has."""
    return [
        document
        for path in sorted((ROOT / "examples").rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if isinstance(document, dict) and document.get("kind") in PLURALS
    ]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("body", examples(), ids=lambda body: f"{body['kind']} {body['metadata']['name']}")
async def test_the_examples_files_can_be_applied(api: Api, namespace: str, body: dict[str, Any]) -> None:
    """An object of a file is the same object in a cluster."""
    body = {**body, "metadata": {**body["metadata"], "namespace": namespace}}
    path = f"/apis/{body['apiVersion']}/namespaces/{namespace}/{PLURALS[body['kind']]}"
    await api.ask("POST", f"{path}?dryRun=All&fieldValidation=Strict", body)
