"""`trtllm-serve`, TensorRT-LLM's own server (its page is at `/prometheus/metrics`). Source: model server protocol 003."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

TRTLLM_SERVE = Engine(
    "trtllm-serve",
    marks=(b"trtllm_",),
    waiting=(named("trtllm_num_requests_waiting"),),
    running=(named("trtllm_num_requests_running"),),
    kv_usage=(named("trtllm_kv_cache_utilization"),),
    block_size=(named("trtllm_kv_cache_tokens_per_block"),),
    blocks=(named("trtllm_kv_cache_max_blocks"),),
    lifetime=(named("trtllm_num_requests_completed_total"), named("trtllm_request_success_total")),
)
