"""The Helm chart with the real Helm, and its output on a real API server; pickers that run as its service account, with its Role."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from typer.testing import CliRunner

from igw.cli.main import app
from igw.kubernetes.crds.definitions import text as crds
from igw.kubernetes.install import rendered
from tests.extproc import wire
from tests.kube.api import Api
from tests.kube.cluster import Cluster, Refused, missing
from tests.kube.containers import picker
from tests.kube.foreign import definitions
from tests.kube.helm import CHART, KUBERNETES, RENDERED, helm, rendering, template
from tests.kube.kubelet import Kubelet
from tests.kubernetes.install.pages import EXAMPLES, PAGES, ROOT, VALUES, blocks, commands

POOL = "inferencePool.modelServers.matchLabels.app=llama"
SELECTOR = (
    "mode=standalone",
    "inferenceExtension.endpointsServer.createInferencePool=false",
    "inferenceExtension.endpointsServer.endpointSelector=app in (llama\\,mistral)",
)
"""Values for a picker without a pool."""
CONFIGURATION = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: max-score-picker}]
schedulingProfiles: [{name: default, plugins: [{pluginRef: queue-scorer}, {pluginRef: max-score-picker}]}]
"""
EVERYTHING = {
    "inferenceExtension": {
        "replicas": 3,
        "pluginsCustomConfig": {"default-plugins.yaml": CONFIGURATION},
        "certSecretName": "certificate",
        "flags": {"log-level": "debug", "emit-endpoint-scores": True, "max-media": 4},
        "env": [{"name": "A", "value": "b"}],
        "monitoring": {
            "prometheus": {"enabled": True, "extraLabels": {"team": "a"}, "auth": {"enabled": True}},
            "gke": {"enabled": True},
        },
        "affinity": {"podAntiAffinity": {}},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "podAnnotations": {"a": "b"},
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        "extraContainerPorts": [{"name": "kv", "containerPort": 5557}],
        "extraServicePorts": [{"name": "kv", "port": 5557, "targetPort": "kv"}],
        "metricsDataSource": {"scheme": "https", "path": "/prometheus", "insecureSkipVerify": True},
    },
    "inferencePool": {
        "targetPorts": [8000, {"number": 8001}],
        "appProtocol": "kubernetes.io/h2c",
        "modelServers": {"matchLabels": {"app": "llama"}},
    },
    "inferenceObjectives": [
        {"name": "urgent", "priority": 10},
        {"name": "batch", "priority": -1},
        {"name": "usual"},
    ],
    "experimentalHttpRoute": {
        "enabled": True,
        "inferenceGatewayNamespace": "gateways",
        "baseModel": "llama-3.1-8b",
    },
    "bbr": {
        "replicas": 2,
        "plugins": [{"type": "base-model-to-header", "name": "base"}],
        "adapters": [{"baseModel": "llama-3.1-8b", "adapters": ["food-review"]}, {"baseModel": "mistral"}],
        "monitoring": {"prometheus": {"enabled": True}},
    },
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}],
        "monitoringFrom": [{"namespaceSelector": {}}],
    },
    "autoscaling": {"enabled": True},
}
"""A value for nearly everything there is."""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a cluster that knows our kinds, and takes those of others as they come."""
    if why := missing():
        pytest.skip(why)
    cluster = Cluster(tmp_path_factory.mktemp("furnished"))
    try:
        cluster.start()
        cluster.apply(crds(), *definitions())
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def bare_cluster(furnished: Cluster) -> Cluster:
    """Have namespaces and requests of this module's tests go to its own cluster."""
    return furnished


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """Give a file of values."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(EVERYTHING))
    return path


def applied(cluster: Cluster, namespace: str, manifests: str) -> dict[str, Any]:
    """Apply *manifests* as strictly as the API server can; return what was said, by kind and name."""
    cluster.kubectl(
        "apply", "--server-side", "--validate=strict", "-n", namespace, "-f", "-", stdin=manifests
    )
    found = (each for each in yaml.safe_load_all(manifests) if each)
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


@pytest.mark.parametrize("provider", ["none", "gke", "istio"])
@pytest.mark.parametrize("mode", rendered.MODES)
def test_it_is_linted_rendered_and_applied(
    furnished: Cluster, namespace: str, everything: Path, mode: str, provider: str
) -> None:
    """With defaults and with a value for nearly everything."""
    values = (f"mode={mode}", f"provider.name={provider}", POOL)
    helm("lint", "--strict", "--quiet", str(CHART), *(part for each in values for part in ("--set", each)))
    plain = applied(furnished, namespace, template("plain", namespace, *values, "bbr.name=plain"))
    full = applied(furnished, namespace, template("full", namespace, *values[:2], files=[everything]))
    assert {key.partition("/")[0] for key in plain} <= {key.partition("/")[0] for key in full}
    kinds = {key.partition("/")[0] for key in full}
    expected = {
        ("inferencepool", "gke"): {"HealthCheckPolicy", "GCPBackendPolicy", "HTTPRoute"},
        ("inferencepool", "istio"): {"DestinationRule", "HTTPRoute"},
        ("bbr", "gke"): {"HealthCheckPolicy", "GCPRoutingExtension"},
        ("bbr", "istio"): {"DestinationRule", "EnvoyFilter"},
    }
    assert expected.get((mode, provider), set()) <= kinds
    assert {
        "Deployment",
        "Service",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
    } <= kinds


@pytest.mark.parametrize("mode", rendered.MODES)
async def test_its_pods_are_what_the_restricted_standard_takes(
    furnished: Cluster, namespace: str, api: Api, everything: Path, mode: str
) -> None:
    """The API server looks at Pods itself where a namespace asks for it."""
    furnished.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    for values in ((POOL,), ()):
        manifests = template("x", namespace, f"mode={mode}", *values, files=[] if values else [everything])
        (deployment,) = (
            each for each in yaml.safe_load_all(manifests) if each and each["kind"] == "Deployment"
        )
        made = deployment["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": made["metadata"] | {"name": "x"},
            "spec": made["spec"],
        }
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
        await api.ask("POST", path, pod)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_pages_install_is_taken_by_the_api_server(
    furnished: Cluster, namespace: str, page: Path
) -> None:
    """Their Helm commands with this chart, and their YAML; a command for another's chart is not looked at."""
    for text in blocks(page, "yaml"):
        applied(furnished, namespace, text)
    for words in commands(page):
        if words[0] == "helm" and "charts/igw" in words:
            chart = words.index("charts/igw")
            rest = [str(ROOT / word) if word.startswith("examples/") else word for word in words[chart + 1 :]]
            manifests = helm(
                "template",
                words[chart - 1],
                str(CHART),
                "--namespace",
                namespace,
                "--kube-version",
                KUBERNETES,
                *rest,
            )
            applied(furnished, namespace, manifests)


def test_the_examples_are_taken_by_the_api_server(furnished: Cluster, namespace: str) -> None:
    """Each file by itself."""
    for path in EXAMPLES:
        if path != VALUES:
            applied(furnished, namespace, path.read_text())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "inferencePool.modelServers.matchLabels says which Pods the pool has"),
        ((POOL, "mode=sidecar"), "mode must be one of"),
        ((POOL, "inferenceExtension.replica=2"), "replica is not allowed"),
        ((POOL, "router.epp.replicas=2"), "router is not allowed"),
        ((POOL, "inferencePool.targetPorts={0}"), "inferencePool.targetPorts.0"),
        ((POOL, "inferenceExtension.failureMode=FailClosed"), "failureMode must be one of"),
        (
            (POOL, "inferenceExtension.pluginsCustomConfig.mine\\.yaml=x"),
            "pluginsCustomConfig has only mine.yaml",
        ),
        (
            ("mode=standalone", "inferenceExtension.endpointsServer.createInferencePool=false"),
            "endpointSelector",
        ),
    ],
)
def test_values_that_cannot_be_used_are_refused_with_a_reason(values: tuple[str, ...], said: str) -> None:
    """Before anything is installed."""
    if why := missing():
        pytest.skip(why)
    with pytest.raises(Refused, match=re.escape(said)):
        template("x", "default", *values)


@pytest.mark.parametrize("mode", rendered.MODES)
def test_plain_manifests_are_the_charts(mode: str) -> None:
    """Whatever name, namespace, image, labels and ports somebody asks `igw manifests` for."""
    if why := missing():
        pytest.skip(why)
    assert (RENDERED / f"{mode}.yaml").read_text() == rendering(mode), "run `make manifests`"
    flags = [
        "--name",
        "llama",
        "--namespace",
        "models",
        "--image",
        "r.example/igw:v2",
        "--match-label",
        "app=llama",
    ]
    printed = CliRunner().invoke(
        app, ["manifests", mode, *flags, "--target-port", "8000", "--target-port", "8001"]
    )
    assert printed.exit_code == 0, printed.output
    values = [f"mode={mode}", POOL, "inferencePool.targetPorts={8000,8001}", "bbr.name=llama"]
    for part in ("inferenceExtension", "bbr"):
        values += [f"{part}.image.{key}={value}" for key, value in (("registry", "r.example"), ("tag", "v2"))]
    from_helm = template("llama", "models", *values)
    assert list(yaml.safe_load_all(printed.output)) == list(yaml.safe_load_all(from_helm))


def permissions(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Return what *role* allows: group, resource, verb."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_its_role_is_the_one_of_the_documentation_and_smaller_where_less_is_done() -> None:
    """The page says what each verb is for."""
    if why := missing():
        pytest.skip(why)
    page = (ROOT / "docs/kubernetes.md").read_text()
    (written,) = re.findall(r"^```yaml\n(.*?kind: Role\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    documented = permissions(yaml.safe_load(written))

    def of(*values: str) -> set[tuple[str, str, str]]:
        objects = yaml.safe_load_all(template("llama", "models", *values))
        (role,) = (each for each in objects if each and each["kind"] == "Role")
        return permissions(role)

    assert of(POOL, "inferenceExtension.replicas=2") == of(POOL, "autoscaling.enabled=true") == documented
    assert {resource for _, resource, _ in documented - of(POOL)} == {"leases"}
    lonely = documented - of(*SELECTOR)
    assert {resource for _, resource, _ in lonely} == {
        "leases",
        "services",
        "inferencepools",
        "inferencepools/status",
    }


@pytest.mark.parametrize("mode", ["inferencepool", "replicas", "selector"])
async def test_a_picker_does_all_it_does_as_the_charts_service_account(
    furnished: Cluster, namespace: str, kubelet: Kubelet, tmp_path: Path, mode: str
) -> None:
    """With the arguments of its container; a permission that was missing would be in its log."""
    values = {
        "inferencepool": ("mode=inferencepool", POOL),
        "replicas": ("mode=standalone", POOL, "inferenceExtension.replicas=2"),
        "selector": SELECTOR,
    }[mode]
    objects = applied(furnished, namespace, template("llama", namespace, *values))
    account = furnished.service_account(namespace, "llama-epp", "")
    await kubelet.run(namespace, "a", "127.0.0.2", {"app": "llama"})
    async with picker(tmp_path / "picker.log", account, arguments(objects, namespace)) as running:
        await running.ready()
        call = wire.calling(running.channel)
        async with asyncio.timeout(10):
            while True:
                replies = [reply async for reply in call(iter(request()))]
                if not any(reply.HasField("immediate_response") for reply in replies):
                    break
        assert wire.routed_to(replies) == "127.0.0.2:8000"
        pool = "llama" if "InferencePool/llama" in objects else "llama-epp"
        await asyncio.to_thread(writes_are_seen, furnished, namespace, pool)
        if mode == "replicas":
            furnished.kubectl("get", "lease", "igw-llama.inference.networking.k8s.io", "-n", namespace)
    assert "forbidden" not in running.said.lower(), running.said
    assert "Traceback" not in running.said, running.said


async def test_metrics_are_told_to_whom_the_chart_lets_read_them(
    furnished: Cluster, namespace: str, tmp_path: Path
) -> None:
    """To the account whose token the monitors show, and that may read nothing else; to nobody without a token, nor with the picker's."""
    values = ("monitoring.prometheus.enabled", "monitoring.gke.enabled", "monitoring.prometheus.auth.enabled")
    switched_on = [f"inferenceExtension.{each}=true" for each in values]
    objects = applied(furnished, namespace, template("llama", namespace, POOL, *switched_on))
    secret = objects["Secret/llama-epp-metrics-reader"]["metadata"]
    shown = [
        objects[f"{kind}/llama-epp"]["spec"]["endpoints"][0]["authorization"]["credentials"]
        for kind in ("ServiceMonitor", "PodMonitoring")
    ]
    assert shown == [{"name": secret["name"], "key": "token"}, {"secret": shown[0]}]
    reader = secret["annotations"]["kubernetes.io/service-account.name"]
    tokens = {
        name: furnished.kubectl("create", "token", name, "-n", namespace).strip()
        for name in (reader, "llama-epp")
    }
    account = furnished.service_account(namespace, "llama-epp", "")
    async with (
        picker(tmp_path / "picker.log", account, arguments(objects, namespace)) as running,
        aiohttp.ClientSession(f"http://{running.addresses['metrics']}") as http,
    ):

        async def status(path: str, token: str = "") -> int:
            async with http.get(
                path, headers={"authorization": f"Bearer {token}"} if token else {}
            ) as answer:
                return answer.status

        assert await status("/metrics", tokens[reader]) == HTTPStatus.OK
        assert await status("/config", tokens[reader]) == HTTPStatus.FORBIDDEN
        assert await status("/metrics", tokens["llama-epp"]) == HTTPStatus.FORBIDDEN
        assert await status("/metrics") == HTTPStatus.UNAUTHORIZED


def arguments(objects: dict[str, Any], namespace: str) -> list[str]:
    """Return those of the picker's container, as the kubelet would give them."""
    pod = objects["Deployment/llama-epp"]["spec"]["template"]["spec"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    (container,) = (each for each in containers if each["name"] == "epp")
    return [each.replace("$(NAMESPACE)", namespace) for each in container["args"]]


def writes_are_seen(cluster: Cluster, namespace: str, pool: str) -> None:
    """Return once the picker has written about its pool, and of a rewrite that it cannot use, which it tells in an Event as well."""
    uneven = {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"name": "uneven", "namespace": namespace},
        "spec": {
            "poolRef": {"name": pool},
            "rules": [{"targets": [{"modelRewrite": "a", "weight": 1}, {"modelRewrite": "b"}]}],
        },
    }
    cluster.apply(uneven)
    wait = ("wait", "-n", namespace, "--timeout=20s")
    cluster.kubectl(*wait, "--for=condition=Accepted=False", "inferencemodelrewrites.llm-d.ai/uneven")
    if pool == "llama":
        written = "jsonpath={.status.parents[*].controllerName}=igw.dev/endpoint-picker"
        cluster.kubectl(*wait, f"--for={written}", "infpool/llama")
    regarding = "--field-selector=regarding.name=uneven"
    cluster.kubectl(*wait, "--for=create", "events.events.k8s.io", regarding)


def request() -> list[Any]:
    """Return the messages of one request."""
    return [wire.headers("/v1/completions"), wire.body(wire.prompt("m"))]
