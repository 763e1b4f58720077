"""The page of the generation before V1, of which there is no recording: names and buckets as its source had them."""

from __future__ import annotations

import msgspec

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.vllm_v0 import VLLM_V0
from tests.simulator.metrics.pages import CONFIG, MODEL, distributions, one_request, page, value


def test_memory_has_its_older_name_and_no_engine_label() -> None:
    """What a picker set up for V1 would miss."""
    now = msgspec.structs.replace(
        Engine(CONFIG).statistics(),
        running=3,
        waiting=2,
        kv_usage=0.25,
        prefix_queries_tokens=200,
        prefix_hits_tokens=50,
    )
    found = page(VLLM_V0, now)
    assert "vllm:kv_cache_usage_perc" not in found
    assert found["vllm:gpu_cache_usage_perc"].samples[0].labels == {"model_name": MODEL}
    names = ("gpu_cache_usage_perc", "num_requests_running", "num_requests_waiting", "num_requests_swapped")
    assert [value(found, f"vllm:{name}") for name in names] == [0.25, 3, 2, 0]
    assert value(found, "vllm:gpu_prefix_cache_hit_rate") == 0.25


def test_histograms_end_earlier() -> None:
    """At a minute for a request, at two seconds and a half for a token."""
    histograms = distributions(VLLM_V0)
    one_request(histograms)
    found = page(VLLM_V0, histograms=histograms)
    last = {
        name: [s.labels["le"] for s in found[f"vllm:{name}"].samples if "le" in s.labels][-2] for name in ENDS
    }
    assert last == ENDS
    assert value(found, "vllm:e2e_request_latency_seconds_sum") == 2.0


ENDS = {
    "e2e_request_latency_seconds": "60.0",
    "request_queue_time_seconds": "60.0",
    "time_per_output_token_seconds": "2.5",
    "time_to_first_token_seconds": "10.0",
    "iteration_tokens_total": "8096.0",
}
