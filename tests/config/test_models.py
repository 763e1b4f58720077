"""InferenceModelRewrite, InferenceObjective and InferenceModel: what is read, and what is refused in which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from igw.config.documents import written
from igw.config.manifests import Manifests, load
from igw.config.models import STICKY, STICKY_BY, old_model
from igw.errors import ConfigError

POOL = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "llama"},
    "spec": {"selector": {"matchLabels": {"app": "llama"}}, "targetPorts": [{"number": 8000}]},
}


def rewrite(*rules: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return an InferenceModelRewrite."""
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"name": "r", **metadata},
        "spec": {"poolRef": {"name": "llama"}, "rules": list(rules)},
    }


def objective(**spec: Any) -> dict[str, Any]:
    """Return an InferenceObjective."""
    return {
        "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"name": "o"},
        "spec": {"poolRef": {"name": "llama"}, **spec},
    }


def rule(*targets: tuple[str, int | None], key: str = "targets") -> dict[str, Any]:
    """Return a rule for the model `m`."""
    listed = [
        {"modelRewrite": name, **({} if weight is None else {"weight": weight})} for name, weight in targets
    ]
    return {"matches": [{"model": {"value": "m"}}], key: listed}


def read(folder: Path, *documents: dict[str, Any]) -> Manifests:
    """Return what *documents* say beside a pool."""
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump_all([POOL, *documents]))
    return load([path])


def test_both_kinds_are_read_in_both_groups(tmp_path: Path) -> None:
    """Upstream moved them to another group and changed nothing."""
    for group in ("llm-d.ai/v1alpha2", "inference.networking.x-k8s.io/v1alpha2"):
        manifests = read(
            tmp_path,
            {**rewrite(rule(("a", 1), ("b", 1_000_000))), "apiVersion": group},
            {**objective(priority=-(2**31)), "apiVersion": group},
        )
        (target, _) = manifests.rewrites[0].spec.rules[0].chosen_from
        assert (target.model_rewrite, target.weight) == ("a", 1)
        assert manifests.objectives[0].spec.priority == -(2**31)
        assert manifests.rewrites[0].pool == manifests.objectives[0].pool == "default/llama"
        assert not manifests.ignored


def test_a_priority_that_is_not_written_is_0(tmp_path: Path) -> None:
    """As upstream's consumers take it."""
    assert read(tmp_path, objective()).objectives[0].spec.priority == 0


def test_targets_may_be_called_split(tmp_path: Path) -> None:
    """Their name in GIE v1.2."""
    (found,) = read(tmp_path, rewrite(rule(("a", None), key="split"))).rewrites
    assert [target.model_rewrite for target in found.spec.rules[0].chosen_from] == ["a"]


@pytest.mark.parametrize(
    ("document", "where", "words"),
    [
        (rewrite(rule(("a", 1), ("b", None))), "$.spec.rules[0].targets[1].weight", "all weights of a rule, or none"),
        (rewrite(rule(("a", None), ("b", 1), key="split")), "$.spec.rules[0].split[0].weight", "all weights"),
        (rewrite(rule(("a", 0))), "$.spec.rules[0].targets[0].weight", "`int` >= 1"),
        (rewrite(rule(("a", 1_000_001))), "$.spec.rules[0].targets[0].weight", "<= 1000000"),
        (rewrite({"targets": []}), "$.spec.rules[0].targets", "there is no target"),
        (rewrite({**rule(("a", 1)), "split": [{"modelRewrite": "b"}]}), "$.spec.rules[0].split", "write one of them"),
        (rewrite({"match": []}), "$.spec.rules[0]", "there is no field `match` (did you mean matches?)"),
        (rewrite({"matches": [{"model": {"value": ""}}]}), "$.spec.rules[0].matches[0].model.value", "length >= 1"),
        (
            rewrite({"matches": [{"model": {"type": "Prefix", "value": "m"}}]}),
            "$.spec.rules[0].matches[0].model.type", "`Prefix` is not allowed here",
        ),
        (rewrite(creationTimestamp="yesterday"), "$.metadata.creationTimestamp", "`yesterday` is not a time"),
        (
            rewrite(annotations={"igw.dev/sticky-by": "user"}),
            "$.metadata.annotations[igw.dev/sticky-by]", "known: conversation, session, fairness-id, header:NAME",
        ),
        (rewrite(annotations={"igw.dev/sticky-by": "header:"}), "$.metadata.annotations", "is not allowed here"),
        (rewrite(annotations={"igw.dev/sticky-by": "header:two words"}), "$.metadata.annotations", "is not allowed here"),
        (rewrite(annotations={"igw.dev/sticky-by": "session:x"}), "$.metadata.annotations", "is not allowed here"),
        (rewrite(annotations={"igw.dev/sticky-by": ""}), "$.metadata.annotations", "is not allowed here"),
        (rewrite(annotations={"igw.dev/sticky": "session"}), "$.metadata.annotations", "did you mean igw.dev/sticky-by?"),
        (objective(priority=2**31), "$.spec.priority", "<= 2147483647"),
        (objective(priority="high"), "$.spec.priority", "expected `int`"),
        (objective(poolRef={"name": "lama"}), "$.spec.poolRef.name", "there is no InferencePool default/lama"),
        (objective(poolRef={"name": "llama", "kind": "Service"}), "$.spec.poolRef.kind", "write InferencePool"),
        (
            objective(poolRef={"name": "llama", "group": "inference.networking.x-k8s.io"}),
            "$.spec.poolRef.group", "write inference.networking.k8s.io",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_place_and_cure(
    tmp_path: Path, document: dict[str, Any], where: str, words: str
) -> None:
    """One sentence each."""
    with pytest.raises(ConfigError) as error:
        read(tmp_path, document)
    assert where in error.value.where
    assert words in str(error.value)
    assert document["kind"] in error.value.where


def test_a_pool_of_another_namespace_is_no_pool_of_theirs(tmp_path: Path) -> None:
    """References do not cross namespaces, whatever the name."""
    with pytest.raises(ConfigError, match="there is no InferencePool other/llama"):
        read(tmp_path, rewrite(namespace="other"))


def test_an_inference_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """It is not passed over: requests would go elsewhere than its author meant."""
    with pytest.raises(ConfigError, match="`igw convert -f OLD -o NEW` writes them"):
        read(tmp_path, {"apiVersion": "inference.networking.x-k8s.io/v1alpha2", "kind": "InferenceModel"})


def test_old_models_have_all_weights_or_none() -> None:
    """As their CRD said."""
    text = """
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: m}
spec: {modelName: m, poolRef: {name: p}, targetModels: [{name: a, weight: 1}, {name: b}]}
"""
    with pytest.raises(ConfigError, match=r"targetModels\[1\].weight: is missing"):
        old_model(next(written(text, "old")))


DOCS = (Path(__file__).parents[2] / "docs" / "rewrites.md").read_text()


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE))
def test_the_examples_of_the_page_can_be_used(tmp_path: Path, text: str) -> None:
    """Each is about the pool beside it."""
    path = tmp_path / "example.yaml"
    path.write_text(text)
    manifests = load([path])
    assert manifests.rewrites or manifests.objectives


def test_the_page_lists_what_requests_may_have_in_common() -> None:
    """In the words of the annotation."""
    assert all(f"| `{value}` |" in DOCS for value in STICKY)
    assert STICKY_BY in DOCS
