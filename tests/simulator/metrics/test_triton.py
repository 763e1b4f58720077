"""The page of Triton's dialect against one recorded from Triton 2.51."""

from __future__ import annotations

import msgspec
import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.triton import TRITON
from tests.simulator.metrics.pages import CONFIG, distributions, one_request, page, recorded, value

RECORDED = recorded("triton-2.51.0-metrics.txt")


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_family_is_there_with_tritons_type_help_and_labels(name: str) -> None:
    """Values of labels too, but for the model's name."""
    ours, theirs = page(TRITON, model="tok")[name], RECORDED[name]
    assert (ours.type, ours.documentation) == (theirs.type, theirs.documentation)
    assert {frozenset(s.labels) for s in ours.samples} == {frozenset(s.labels) for s in theirs.samples}
    if name.startswith("nv_inference"):
        assert [s.labels for s in ours.samples] == [s.labels for s in theirs.samples]


def test_endpoint_pickers_find_what_they_look_for() -> None:
    """By the metric specifications of the gateway API inference extension for Triton with TensorRT-LLM."""
    now = msgspec.structs.replace(
        Engine(CONFIG).statistics(), running=3, waiting=2, kv_usage=0.25, finished_stop=1, aborted=4
    )
    found = page(TRITON, now)
    request, blocks = "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"
    kinds = ("waiting", "scheduled", "active", "max")
    assert [value(found, request, request_type=kind) for kind in kinds] == [2, 3, 5, 256]
    kinds = ("fraction", "used", "free", "max", "tokens_per")
    by_kind = [value(found, blocks, kv_cache_block_type=kind) for kind in kinds]
    assert by_kind == [0.25, 250, 750, 1000, 16]
    assert value(found, "nv_inference_request_failure_total", reason="CANCELED") == 4


def test_durations_are_added_up_in_microseconds() -> None:
    """Two seconds in all, a quarter of one queued."""
    histograms = distributions(TRITON)
    one_request(histograms)
    found = page(TRITON, histograms=histograms)
    assert value(found, "nv_inference_request_duration_us_total") == 2_000_000
    assert value(found, "nv_inference_queue_duration_us_total") == 250_000
    assert value(found, "nv_inference_compute_infer_duration_us_total") == 1_750_000
