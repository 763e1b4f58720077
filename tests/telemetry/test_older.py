"""Older metric names: made of today's families, labels that were not there summed away."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from igw.telemetry.exposition import page
from igw.telemetry.families import Families
from igw.telemetry.older import GIE, older

OF_V1_3 = (
    "inference_objective_request_total",
    "inference_objective_request_error_total",
    "inference_objective_request_ttft_seconds",
    "inference_objective_request_predicted_ttft_seconds",
    "inference_objective_request_tpot_seconds",
    "inference_objective_request_slo_violation_total",
    "inference_objective_request_duration_seconds",
    "inference_objective_request_sizes",
    "inference_objective_response_sizes",
    "inference_objective_input_tokens",
    "inference_objective_output_tokens",
    "inference_objective_prompt_cached_tokens",
    "inference_objective_running_requests",
    "inference_objective_normalized_time_per_output_token_seconds",
    "inference_pool_average_kv_cache_utilization",
    "inference_pool_average_queue_size",
    "inference_pool_ready_pods",
    "inference_pool_per_pod_queue_size",
    "inference_extension_scheduler_e2e_duration_seconds",
    "inference_extension_scheduler_attempts_total",
    "inference_extension_plugin_duration_seconds",
    "inference_extension_prefix_indexer_size",
    "inference_extension_prefix_indexer_hit_ratio",
    "inference_extension_prefix_indexer_hit_bytes",
    "inference_extension_info",
    "inference_extension_flow_control_request_queue_duration_seconds",
    "inference_extension_flow_control_queue_size",
    "inference_extension_model_rewrite_decisions_total",
)
"""Families of GIE v1.3.0 but for those of a latency predictor beside the picker: how long it takes to predict, its TPOT, and its last values."""


@pytest.fixture
def families() -> Families:
    """Families with older names."""
    families = Families()
    families.registry.also(older)
    return families


def test_every_family_of_v1_3_has_its_name() -> None:
    """That is what its dashboards ask for."""
    assert {name.removesuffix("_total") for name in OF_V1_3} <= {each.name for each in GIE.values()}


def test_labels_that_were_not_there_are_summed_away(families: Families) -> None:
    """Two tenants of one model were one series."""
    for flow, count in (("a", 2), ("b", 3)):
        families.request_total.labels("m", "m", flow, "0").inc(count)
        families.request_duration_seconds.labels("m", "m", flow, "0").observe(count)
    value = families.registry.get_sample_value
    models = {"model_name": "m", "target_model_name": "m"}
    assert value("inference_objective_request_total", {**models, "priority": "0"}) == 5
    assert value("inference_objective_request_duration_seconds_sum", models) == 5
    assert value("inference_objective_request_duration_seconds_count", models) == 2
    assert value("inference_objective_request_duration_seconds_bucket", {**models, "le": "2.0"}) == 1
    tenant = {**models, "fairness_id": "a", "priority": "0"}
    assert value("llm_d_router_epp_request_total", tenant) == 2


def test_labels_had_other_names(families: Families) -> None:
    """Endpoints were Pods."""
    queue = GaugeMetricFamily(
        "llm_d_epp_per_endpoint_queue_size", "Waiting.", labels=("name", "model_server_endpoint")
    )
    queue.add_metric(("p", "pod-1"), 3)
    families.collect_with(lambda: [queue])
    value = families.registry.get_sample_value
    assert value("inference_pool_per_pod_queue_size", {"name": "p", "model_server_pod": "pod-1"}) == 3
    families.scheduler_attempts_total.labels("success", "m", "pod-1", "ns", "8000").inc()
    labels = {
        "status": "success",
        "target_model_name": "m",
        "pod_name": "pod-1",
        "namespace": "ns",
        "port": "8000",
    }
    assert value("inference_extension_scheduler_attempts_total", labels) == 1


def test_ours_have_no_older_names_and_nothing_is_written_unless_asked_for(families: Families) -> None:
    """They are as old as they are."""
    names = {family.name for family in families.registry.collect()}
    assert not [name for name in names if name.startswith("llm_d_router_epp_igw")]
    plain = {family.name for family in Families().registry.collect()}
    assert not [name for name in plain if name.startswith(("inference_", "llm_d_router_"))]
    assert {
        f"llm_d_router_{name.removeprefix('llm_d_')}" for name in plain if name.startswith("llm_d_epp_")
    } <= names


def test_the_page_with_older_names_can_be_read(families: Families) -> None:
    """Every family once, and every value where the samples have it."""
    families.request_total.labels('say "m"\\', "n\n", "a", "0").inc()
    families.request_ttft_seconds.labels("m", "m", "a", "0", "true").observe(0.3)
    parsed = list(text_string_to_metric_families(page(families.registry).decode()))
    assert len({family.name for family in parsed}) == len(parsed)

    class Read(CollectorRegistry):
        def collect(self):  # type: ignore[no-untyped-def]
            return parsed

    labels = {"model_name": 'say "m"\\', "target_model_name": "n\n", "priority": "0"}
    assert Read().get_sample_value("inference_objective_request_total", labels) == 1
    for family in families.registry.collect():
        for sample in family.samples:
            assert Read().get_sample_value(sample.name, sample.labels) == pytest.approx(sample.value)
