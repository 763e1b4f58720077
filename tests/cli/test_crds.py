"""`igw crds`: what it prints, and for whom."""

from __future__ import annotations

import yaml
from typer import Typer
from typer.testing import CliRunner

from igw.cli.crds import crds
from igw.kubernetes.crds.definitions import KINDS


def run(*arguments: str) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error."""
    app = Typer()
    app.command()(crds)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def printed(*arguments: str) -> list[str]:
    """Return the names of what is printed, each with its version."""
    status, out, said = run(*arguments)
    assert (status, said) == (0, "")
    return [
        f"{each['metadata']['name']}/{each['spec']['versions'][0]['name']}"
        for each in yaml.safe_load_all(out)
    ]


def test_each_kind_is_printed_once() -> None:
    """In the group that it lives in today."""
    assert printed() == [
        "inferencepools.inference.networking.k8s.io/v1",
        "inferenceobjectives.llm-d.ai/v1alpha2",
        "inferencemodelrewrites.llm-d.ai/v1alpha2",
        "inferencepoolimports.inference.networking.x-k8s.io/v1alpha1",
    ]


def test_older_ones_come_on_demand() -> None:
    """Beside today's."""
    assert printed("--legacy") == [
        *printed(),
        "inferencepools.inference.networking.x-k8s.io/v1alpha2",
        "inferenceobjectives.inference.networking.x-k8s.io/v1alpha2",
        "inferencemodelrewrites.inference.networking.x-k8s.io/v1alpha2",
    ]


def test_kinds_can_be_chosen() -> None:
    """By their names."""
    assert printed("InferencePool") == ["inferencepools.inference.networking.k8s.io/v1"]
    assert len(printed("--legacy", "InferencePool")) == 2
    assert printed(*KINDS) == printed()


def test_a_kind_that_is_not_there_is_an_error() -> None:
    """With the nearest one that is."""
    status, out, said = run("InferencePols")
    assert (status, out) == (1, "")
    assert said == "igw crds: there is no kind `InferencePols` here (did you mean InferencePool?)\n"


def test_nothing_is_left_to_be_looked_up() -> None:
    """Not everything that reads YAML knows anchors."""
    _, out, _ = run("--legacy")
    assert not [line for line in out.splitlines() if line.partition(": ")[2][:1] in ("&", "*")]
