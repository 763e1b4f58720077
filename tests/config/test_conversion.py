"""InferenceModels become objectives and rewrites, and every difference is told."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from igw.config.conversion import converted
from igw.config.documents import written
from igw.config.models import objective, rewrite
from igw.errors import ConfigError

OLD = """
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: food-review, namespace: ml, labels: {team: food}}
spec:
  modelName: food-review
  criticality: Critical
  poolRef: {name: llama}
  targetModels:
  - {name: food-review-v1, weight: 90}
  - {name: food-review-v2, weight: 10}
---
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: InferenceModel
metadata: {name: reserved}
spec:
  modelName: reserved
  poolRef: {name: llama}
  targetModels: [{name: nothing-yet, weight: 0}]
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: late, creationTimestamp: "2025-06-02T00:00:00Z"}
spec: {modelName: base, criticality: Sheddable, poolRef: {name: llama}, targetModels: [{name: other}]}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModel
metadata: {name: early, creationTimestamp: 2025-06-01T00:00:00Z}
spec: {modelName: base, poolRef: {name: llama}, targetModels: [{name: base}]}
"""
NEW = """
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: food-review, namespace: ml, labels: {team: food}}
spec: {poolRef: {name: llama}, priority: 1}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: food-review, namespace: ml, labels: {team: food}}
spec:
  poolRef: {name: llama}
  rules:
  - matches: [{model: {value: food-review}}]
    targets:
    - {modelRewrite: food-review-v1, weight: 90}
    - {modelRewrite: food-review-v2, weight: 10}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: reserved}
spec: {poolRef: {name: llama}, priority: 0}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: late}
spec: {poolRef: {name: llama}, priority: -1}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: early}
spec: {poolRef: {name: llama}, priority: 0}
"""


def test_models_become_what_they_meant() -> None:
    """Objectives for all; a rewrite where the server is asked for another name."""
    found = converted(written(OLD, "old.yaml"))
    assert found.documents == list(yaml.safe_load_all(NEW))


def test_every_difference_is_told_with_its_place() -> None:
    """Priorities need a header; weights of 0, names without a target, names that two objects want."""
    notes = [f"{where}: {note}" for where, note in converted(written(OLD, "old.yaml")).notes]
    assert notes == [
        "old.yaml document 1 (InferenceModel ml/food-review): criticality Critical is priority 1 now, and only of requests with the header "
        "`x-llm-d-inference-objective: food-review`",
        "old.yaml document 2 (InferenceModel default/reserved): no criticality, which meant Standard, is priority 0 now, and only of requests "
        "with the header `x-llm-d-inference-objective: reserved`",
        "old.yaml document 2 (InferenceModel default/reserved): target `nothing-yet` has weight 0: it is left out, and gets nothing as before",
        "old.yaml document 2 (InferenceModel default/reserved): `reserved` has no target left: it goes to the model server under its own name",
        "old.yaml document 3 (InferenceModel default/late): criticality Sheddable is priority -1 now, and only of requests with the header "
        "`x-llm-d-inference-objective: late`",
        "old.yaml document 3 (InferenceModel default/late): `base` belongs to default/early, which is older: no rewrite was written",
        "old.yaml document 4 (InferenceModel default/early): no criticality, which meant Standard, is priority 0 now, and only of requests "
        "with the header `x-llm-d-inference-objective: early`",
    ]


def test_what_cannot_be_used_is_an_error() -> None:
    """The same words as for today's objects."""
    with pytest.raises(ConfigError, match=r"criticality: `Urgent` is not allowed here"):
        converted(written(OLD.replace("Critical", "Urgent"), "old.yaml"))


names = st.sampled_from(["a", "b", "c"])
targets = st.lists(names, max_size=4).flatmap(
    lambda listed: st.one_of(
        st.just([{"name": name} for name in listed]),
        st.lists(st.integers(0, 1_000_000), min_size=len(listed), max_size=len(listed)).map(
            lambda weights: [
                {"name": name, "weight": weight} for name, weight in zip(listed, weights, strict=True)
            ]
        ),
    )
)


@given(st.lists(st.tuples(names, targets), min_size=1, max_size=4))
def test_whatever_was_valid_becomes_something_valid(
    models: list[tuple[str, list[dict[str, object]]]],
) -> None:
    """Each document can be read, and no name of a pool is in two rewrites."""
    old = yaml.safe_dump_all(
        {
            "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
            "kind": "InferenceModel",
            "metadata": {"name": f"m{index}"},
            "spec": {"modelName": name, "poolRef": {"name": "p"}, "targetModels": listed},
        }
        for index, (name, listed) in enumerate(models)
    )
    new = list(written(yaml.safe_dump_all(converted(written(old, "old")).documents), "new"))
    assert len(models) == sum(objective(each).name != "" for each in new if each.kind == "InferenceObjective")
    rewrites = [rewrite(each) for each in new if each.kind == "InferenceModelRewrite"]
    matched = [match.model.value for each in rewrites for rule in each.spec.rules for match in rule.matches]
    assert len(matched) == len(set(matched))
