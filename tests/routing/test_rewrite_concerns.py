"""What rewrites say and will hardly have been meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.config.manifests import load
from igw.routing.rewrite_concerns import rewrite_concerns

FILE = """
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: p}
spec: {selector: {matchLabels: {a: b}}, targetPorts: [{number: 8000}]}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec:
  poolRef: {name: p}
  rules:
"""
SOUND = "  - {matches: [{model: {value: m}}], targets: [{modelRewrite: t}]}\n"


@pytest.mark.parametrize(
    ("rules", "code", "where", "words"),
    [
        ("  - {matches: [{model: {value: m}}], split: [{modelRewrite: t}]}\n", "IGW002", "rules[0].split", "called `targets`"),
        ("  - {matches: [{model: {value: m}}]}\n", "IGW020", "rules[0]", "has no targets"),
        ("  - {matches: [{model: {value: m}}], targets: [{modelRewrite: ''}]}\n", "IGW020", "rules[0]", "without a name"),
        (SOUND + SOUND, "IGW020", "rules[1]", "never decides: a rule that has precedence fits `m` too"),
        ("  - {targets: [{modelRewrite: t}]}\n", "IGW021", "rules[0]", "every model name of pool default/p"),
    ],
)  # fmt: skip
def test_each_is_told_with_its_place(tmp_path: Path, rules: str, code: str, where: str, words: str) -> None:
    """And nothing else is."""
    path = tmp_path / "r.yaml"
    path.write_text(FILE + rules)
    (concern,) = rewrite_concerns(load([path]))
    assert concern.code == code
    assert concern.where == f"{path} document 2 (InferenceModelRewrite default/r) $.spec.{where}"
    assert words in concern.message


def test_of_what_is_sound_there_is_nothing_to_say(tmp_path: Path) -> None:
    """A rule for one name."""
    path = tmp_path / "r.yaml"
    path.write_text(FILE + SOUND)
    assert rewrite_concerns(load([path])) == []
