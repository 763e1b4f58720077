"""Triton with the TensorRT-LLM backend, and Triton with any other. Source: a page of 2.51.0, and model server protocol 003."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

_REQUESTS, _BLOCKS = "nv_trt_llm_request_metrics", "nv_trt_llm_kv_cache_block_metrics"
_LIFETIME = (named("nv_inference_request_success"),)

TRITON_TENSORRT_LLM = Engine(
    "triton-tensorrt-llm",
    marks=(b"nv_trt_llm_",),
    waiting=(named(_REQUESTS, request_type="waiting"),),
    running=(named(_REQUESTS, request_type="scheduled"),),
    kv_usage=(named(_BLOCKS, kv_cache_block_type="fraction"),),
    block_size=(named(_BLOCKS, kv_cache_block_type="tokens_per"),),
    blocks=(named(_BLOCKS, kv_cache_block_type="max"),),
    lifetime=_LIFETIME,
)

TRITON = Engine(
    "triton",
    marks=(b"nv_inference_",),
    waiting=(named("nv_inference_pending_request_count"),),
    # There is no gauge. Upstream takes `nv_inference_exec_count`, which only grows; the time that requests spend beyond the queue does
    # tell how many are computed at a time.
    busy=(
        (named("nv_inference_request_duration_us"), 1e-6),
        (named("nv_inference_queue_duration_us"), -1e-6),
    ),
    lifetime=_LIFETIME,
)
