"""The page of `trtllm-serve`, of which there is no recording: names, types and buckets as its documentation has them."""

from __future__ import annotations

import msgspec

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.trtllm import TRTLLM
from tests.simulator.metrics.pages import CONFIG, distributions, one_request, page, value


def test_endpoint_pickers_find_what_they_look_for() -> None:
    """By the metric specifications of the gateway API inference extension for trtllm-serve."""
    now = msgspec.structs.replace(Engine(CONFIG).statistics(), running=3, waiting=2, kv_usage=0.25)
    found = page(TRTLLM, now)
    names = ("num_requests_running", "num_requests_waiting", "kv_cache_utilization")
    assert [value(found, f"trtllm_{name}", engine_type="trtllm") for name in names] == [3, 2, 0.25]
    names = ("max_blocks", "free_blocks", "used_blocks", "tokens_per_block")
    assert [value(found, f"trtllm_kv_cache_{name}") for name in names] == [1000, 750, 250, 16]


def test_latencies_are_histograms_with_vllms_buckets() -> None:
    """First token, per token, queue, end to end."""
    histograms = distributions(TRTLLM)
    one_request(histograms)
    found = page(TRTLLM, histograms=histograms)
    sums = {
        "e2e_request_latency_seconds": 2.0,
        "time_to_first_token_seconds": 1.0,
        "time_per_output_token_seconds": 0.1,
        "request_queue_time_seconds": 0.25,
    }
    assert {name: round(value(found, f"trtllm_{name}_sum"), 9) for name in sums} == sums
    assert {found[f"trtllm_{name}"].type for name in sums} == {"histogram"}
    assert value(found, "trtllm_request_queue_time_seconds_bucket", le="0.3") == 1
    assert value(found, "trtllm_iteration_latency_seconds") == 0.1


def test_the_page_is_not_where_others_have_it() -> None:
    """`/metrics` is JSON there."""
    assert TRTLLM.paths == ("/prometheus/metrics",)
