"""`igw convert`: what it writes, what it says, and how it exits."""

from __future__ import annotations

from pathlib import Path

import yaml
from typer import Typer
from typer.testing import CliRunner

from igw.cli.convert import convert
from igw.config.manifests import load

OLD = """
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: food}
spec:
  modelName: food
  criticality: Sheddable
  poolRef: {name: llama}
  targetModels: [{name: food-v1, weight: 90}, {name: food-v2, weight: 10}]
"""
POOL = """
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama}
spec: {selector: {matchLabels: {app: llama}}, targetPorts: [{number: 8000}]}
"""


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error."""
    app = Typer()
    app.command()(convert)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_what_it_writes_can_be_used(tmp_path: Path) -> None:
    """Beside the pool, which it leaves where it is."""
    old, new, pool = tmp_path / "old.yaml", tmp_path / "new.yaml", tmp_path / "pool.yaml"
    old.write_text(OLD + POOL)
    pool.write_text(POOL)
    status, printed, said = run("-f", old, "-o", new)
    assert (status, printed) == (0, "")
    assert "criticality Sheddable is priority -1 now" in said
    assert f"{old} document 2 (InferencePool default/llama): not written" in said
    assert "A model that no InferenceModel named was Sheddable; now it has priority 0." in said
    manifests = load([pool, new])
    assert manifests.objectives[0].spec.priority == -1
    targets = manifests.rewrites[0].spec.rules[0].chosen_from
    assert [(target.model_rewrite, target.weight) for target in targets] == [("food-v1", 90), ("food-v2", 10)]


def test_without_a_place_it_prints(tmp_path: Path) -> None:
    """Nothing but the documents, so that it can be piped."""
    old = tmp_path / "old.yaml"
    old.write_text(OLD)
    status, printed, _ = run("-f", old)
    assert status == 0
    assert [document["kind"] for document in yaml.safe_load_all(printed)] == [
        "InferenceObjective",
        "InferenceModelRewrite",
    ]


def test_what_cannot_be_converted_is_said_in_one_sentence(tmp_path: Path) -> None:
    """No such object, no such folder for the result."""
    old, pool = tmp_path / "old.yaml", tmp_path / "pool.yaml"
    old.write_text(OLD)
    pool.write_text(POOL)
    assert run("-f", pool)[::2] == (1, f"igw convert: {pool}: there is no InferenceModel here\n")
    status, _, said = run("-f", old, "-o", tmp_path / "none" / "new.yaml")
    assert status == 1
    assert "cannot be written: No such file or directory" in said
