"""Metric families: upstream's names, a registry of their own, and labels that cannot grow."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from igw.telemetry.families import Families


def test_every_family_has_a_name_of_upstream_or_is_known_as_ours() -> None:
    """Dashboards made for upstream find what they ask for; each has a help text and a known type."""
    families = list(Families().registry.collect())
    names = {family.name for family in families}
    assert all(name.startswith(("llm_d_epp_", "igw_")) for name in names)
    assert {
        "llm_d_epp_request",
        "llm_d_epp_request_error",
        "llm_d_epp_request_duration_seconds",
        "llm_d_epp_request_ttft_seconds",
        "llm_d_epp_request_ntpot_seconds",
        "llm_d_epp_scheduler_e2e_duration_seconds",
        "llm_d_epp_plugin_duration_seconds",
    } <= names
    assert all(
        family.documentation.endswith(".") and family.type in ("counter", "histogram") for family in families
    )


def test_buckets_rise() -> None:
    """A bound out of order would make every quantile wrong."""
    for family in Families().registry.collect():
        if family.type == "histogram":
            bounds = [
                float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket")
            ]
            assert bounds == sorted(set(bounds))


def test_two_processes_in_one_do_not_share_their_metrics() -> None:
    """Two pickers in one test, or one in a program that has metrics of its own."""
    one, other = Families(), Families()
    one.config_reloads_total.labels("applied").inc()
    assert one.registry.get_sample_value("igw_config_reloads_total", {"result": "applied"}) == 1
    assert other.registry.get_sample_value("igw_config_reloads_total", {"result": "applied"}) is None


def test_state_is_read_when_the_page_is_asked_for() -> None:
    """Not before, and each time anew."""
    families, asked = Families(), 0

    def collect() -> list[Metric]:
        nonlocal asked
        asked += 1
        return [GaugeMetricFamily("igw_asked", "Times.", value=asked)]

    families.collect_with(collect)
    before = asked
    for times in (1, 2):
        page = generate_latest(families.registry).decode()
        values = [
            s.value for f in text_string_to_metric_families(page) for s in f.samples if s.name == "igw_asked"
        ]
        assert values == [before + times]


def test_what_is_forgotten_is_off_the_page_where_clients_chose_its_labels() -> None:
    """A tenant's series go; those of others, and families that tell more or less apart, stay."""
    families = Families()
    for flow in ("a", "b"):
        families.request_total.labels("m", "m", flow, "0").inc()
        families.request_ttft_seconds.labels("m", "m", flow, "0", "true").observe(1.0)
        families.flow_control_request_enqueue_duration_seconds.labels(flow, "0", "Dispatched").observe(1.0)
    families.forget({"model_name": "m", "target_model_name": "m", "fairness_id": "a", "priority": "0"})
    page = generate_latest(families.registry).decode()
    lines = [line for line in page.splitlines() if 'fairness_id="a"' in line]
    assert lines
    assert all("enqueue" in line for line in lines)
    families.forget({"fairness_id": "a"})
    page = generate_latest(families.registry).decode()
    assert 'fairness_id="a"' not in page
    assert 'fairness_id="b"' in page
