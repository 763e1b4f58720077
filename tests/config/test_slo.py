"""Service level objectives as annotations: what is read, what is refused, with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.config.manifests import load
from igw.config.slo import E2E, TARGET, TPOT, TTFT, Slo, slo
from igw.discovery.snapshot import slos
from igw.errors import ConfigError

FILE = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama, annotations: {POOL}}
spec: {selector: {matchLabels: {app: a}}, targetPorts: [{number: 8000}]}
---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: other}
spec: {selector: {matchLabels: {app: b}}, targetPorts: [{number: 8000}]}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: chat, annotations: {CHAT}}
spec: {poolRef: {name: llama}, priority: 2}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: plain}
spec: {poolRef: {name: llama}}
"""


def written(folder: Path, pool: str = "", chat: str = "") -> Path:
    """Write pools and objectives with these annotations."""
    path = folder / "pool.yaml"
    path.write_text(FILE.replace("{POOL}", f"{{{pool}}}").replace("{CHAT}", f"{{{chat}}}"))
    return path


def test_every_annotation_is_read() -> None:
    """Times as durations, the share as such or in per cent."""
    found = slo({TTFT: "500ms", TPOT: "50ms", E2E: "1m30s", TARGET: "99.5%"})
    assert found == Slo(0.5, 0.05, 90.0, 0.995)
    assert slo({}) == Slo()
    assert slo({TARGET: "0.9"}).share == 0.9
    assert Slo().share == 0.99


def test_what_an_objective_leaves_out_is_its_pools(tmp_path: Path) -> None:
    """Pools of which nobody says anything are none of its business."""
    path = written(tmp_path, f"{TTFT}: 2s, {TARGET}: '0.9'", f"{TTFT}: 300ms, {TPOT}: 40ms")
    assert slos(load([path])) == {
        "default/llama": {
            "": Slo(2.0, None, None, 0.9),
            "chat": Slo(0.3, 0.04, None, 0.9),
            "plain": Slo(2.0, None, None, 0.9),
        }
    }
    assert slos(load([written(tmp_path)])) == {}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (f"{TTFT}: fast", "'fast' is not a duration such as 10s"),
        (f"{TPOT}: 0s", "'0s' cannot be met"),
        (f"{TARGET}: '1'", "'1' is no share of requests below all of them"),
        (f"{TARGET}: most", "'most' is no share"),
    ],
)
@pytest.mark.parametrize("of", ["pool", "chat"])
def test_what_cannot_be_used_is_told_with_its_place(
    tmp_path: Path, of: str, annotation: str, words: str
) -> None:
    """File, object, annotation."""
    with pytest.raises(ConfigError) as error:
        load([written(tmp_path, **{of: annotation})])
    name = annotation.partition(":")[0]
    assert words in error.value.problem
    assert f"$.metadata.annotations[{name}]" in error.value.where
    assert "pool.yaml" in error.value.where


def test_a_misspelt_annotation_is_an_error(tmp_path: Path) -> None:
    """With the nearest known one."""
    with pytest.raises(ConfigError, match=r"igw\.dev/slo-ttft"):
        load([written(tmp_path, "igw.dev/slo-tfft: 1s")])
