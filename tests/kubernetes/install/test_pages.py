"""The pages on installing: their commands run, or are known and name files that exist; their objects are of kinds that exist."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from igw.cli.main import app
from igw.config.decode import decode
from igw.config.documents import read
from igw.config.gateway_api import Gateway, HTTPRoute
from igw.config.manifests import API_VERSIONS
from tests.kube.foreign import KINDS
from tests.kubernetes.install.pages import IN_CLUSTER, PAGES, ROOT, blocks, commands, objects

FOREIGN = {(version, kind) for version, kinds in KINDS.items() for kind in kinds}
KUBERNETES = {
    "v1": {"ConfigMap"},
    "apps/v1": {"Deployment"},
    "rbac.authorization.k8s.io/v1": {"ClusterRole", "ClusterRoleBinding"},
}
SHAPES: dict[str, type[Gateway | HTTPRoute]] = {"Gateway": Gateway, "HTTPRoute": HTTPRoute}
COMMANDS = {"kubectl", "helm", "igw", "podman", "istioctl", "curl"}
PAGE_COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs_or_says_that_it_needs_a_cluster(page: Path) -> None:
    """Those that need one are valid at least."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": os.environ["HOME"]}
    for block in blocks(page, "sh", "bash", "shell"):
        only_read = ["-n"] if block.startswith(IN_CLUSTER) else []
        done = subprocess.run(
            ["bash", "-euo", "pipefail", *only_read, "-c", block],
            check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (block, done.stderr)


@pytest.mark.parametrize(
    ("page", "words"),
    PAGE_COMMANDS,
    ids=lambda each: " ".join(each[:3]) if isinstance(each, list) else each.stem,
)
def test_a_command_for_a_cluster_is_known_and_its_files_exist(page: Path, words: list[str]) -> None:
    """Those of igw down to their flags; the chart's values are rendered where Helm is there."""
    assert words[0].partition("=")[0] in {*COMMANDS, "address"}, page
    for flag, value in itertools.pairwise(words):
        if flag in {"-f", "--values"} and value != "-" and "://" not in value:
            assert (ROOT / value).exists(), value
    if words[0] == "igw":
        context: Any = None
        command: Any = get_command(app).get_command(context, words[1])  # type: ignore[attr-defined]
        command.make_context(words[1], words[2:])


@pytest.mark.parametrize(
    ("where", "body"), list(objects()), ids=lambda each: each["kind"] if isinstance(each, dict) else each
)
def test_an_object_is_of_a_kind_and_version_that_exist(
    where: str, body: dict[str, Any], tmp_path: Path
) -> None:
    """Gateways and routes to pools are decoded as strictly as our own."""
    version, kind = body["apiVersion"], body["kind"]
    assert (
        (version, kind) in FOREIGN
        or kind in KUBERNETES.get(version, ())
        or version in API_VERSIONS.get(kind, ())
    ), where
    text = yaml.safe_dump(body)
    if kind in SHAPES and "agentgateway.dev" not in text:  # ours does not know other backends than pools
        (tmp_path / "one.yaml").write_text(text)
        (document,) = read([tmp_path])
        decode(document, SHAPES[kind])
