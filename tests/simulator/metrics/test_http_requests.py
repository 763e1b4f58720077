"""Counts of HTTP requests against those on the page recorded from vLLM 0.32."""

from __future__ import annotations

from prometheus_client import Metric

from igw.simulator.metrics.http_requests import HttpRequests
from tests.simulator.metrics.pages import families, recorded, shape, value

RECORDED = {n: each for n, each in recorded("vllm-0.32.0-metrics.txt").items() if n.startswith("http_")}


def counted() -> HttpRequests:
    """Return the kinds of requests that the recorded page has."""
    requests = HttpRequests()
    requests.observe("/v1/completions", "POST", 200, 0.3, 500, 1000)
    requests.observe("/v1/completions", "POST", 404, 0.001, 300, 100)
    requests.observe(None, "POST", 404, 0.001, 34, 22)
    return requests


def found(requests: HttpRequests) -> dict[str, Metric]:
    """Return the families on the page."""
    return families(requests.block([]))


def test_families_types_help_labels_and_buckets_are_vllms() -> None:
    """For the same handlers."""
    ours = found(counted())
    assert set(ours) == set(RECORDED)
    for name, family in ours.items():
        theirs = RECORDED[name]
        assert (family.type, family.documentation) == (theirs.type, theirs.documentation)
        assert shape(family) == shape(theirs)


def test_requests_are_counted_by_handler_method_and_class_of_status() -> None:
    """Sizes and durations by handler."""
    ours = found(counted())
    labels = {"handler": "/v1/completions", "method": "POST"}
    assert value(ours, "http_requests_total", status="2xx", **labels) == 1
    assert value(ours, "http_requests_total", status="4xx", **labels) == 1
    assert value(ours, "http_request_size_bytes_sum", handler="/v1/completions") == 800
    assert value(ours, "http_request_duration_seconds_bucket", le="0.1", **labels) == 1
    assert value(ours, "http_request_duration_highr_seconds_count") == 3


def test_probes_and_scrapes_are_not_counted() -> None:
    """They would drown the rest."""
    requests = counted()
    before = requests.block([])
    for handler in ("/metrics", "/health", "/ping"):
        requests.observe(handler, "GET", 200, 0.1, 0, 0)
    assert requests.block([]) == before


def test_a_request_changes_the_next_page() -> None:
    """Text is kept only while there are none."""
    requests = counted()
    requests.block([])
    requests.observe("/v1/models", "GET", 200, 0.1, 0, 900)
    assert value(found(requests), "http_requests_total", handler="/v1/models") == 1
