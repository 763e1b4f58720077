"""What a picker measures, as its settings and manifests say."""

from __future__ import annotations

from pathlib import Path

from igw.app.metering import Metering
from igw.app.settings import PickerSettings
from igw.config.manifests import load
from igw.config.slo import Slo
from igw.discovery.snapshot import pools
from igw.errors import QueueFull
from igw.request import Head, Request

FILE = """\
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: llama, annotations: {igw.dev/slo-e2e: 10s}}
spec: {selector: {matchLabels: {app: a}}, targetPorts: [{number: 8000}], endpointPickerRef: {name: e, port: {number: 9002}}}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec:
  poolRef: {name: llama}
  rules:
  - matches: [{model: {value: front}}]
    targets: [{modelRewrite: tuned}]
---
endpoints:
- {name: e, address: 10.0.0.1, port: 8000, labels: {app: a}}
"""


def test_models_and_objectives_follow_the_manifests(tmp_path: Path) -> None:
    """Names of the configuration have their labels however many clients invent; refusals burn its budget."""
    path = tmp_path / "pool.yaml"
    path.write_text(FILE)
    manifests = load([path])
    metering = Metering(PickerSettings(paths=(path,)), lambda: 100.0)
    metering.use(manifests, pools(manifests))
    labels, head = metering.families.request_labels, Head("/", "POST", {}, "default/llama")
    for number in range(3_000):
        labels.of(Request(head, model=f"m{number}"))
    ruled = Request(head, model="front", target_model="tuned", rewritten_by=("default/r", 0))
    assert labels.of(ruled)[:2] == ("front", "tuned")
    metering.refused(Request(head, model="front"), QueueFull("full"))
    (line,) = metering.attainment.page()
    assert (line.pool, line.objective, line.of, line.requests) == ("default/llama", "", "e2e", {"failed": 1})
    assert line.objective_seconds == Slo(e2e_seconds=10.0).e2e_seconds


def test_older_names_and_streams_are_there_where_they_are_asked_for() -> None:
    """And the build says which it is."""
    for asked in (False, True):
        settings = PickerSettings(paths=(), older_metrics=asked)
        names = {each.name for each in Metering(settings, lambda: 0.0).families.registry.collect()}
        assert {"llm_d_epp_info", "llm_d_epp_request"} <= names
        assert ("inference_extension_info" in names) is asked
        assert ("llm_d_router_epp_request" in names) is asked
