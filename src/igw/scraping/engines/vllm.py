"""vLLM, V1 and V0, and what speaks its names (llm-d-inference-sim). Source: pages of 0.32.0; names of older versions from its changelog."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

_CACHE = "vllm:cache_config_info"

VLLM = Engine(
    "vllm",
    marks=(b"vllm:",),
    waiting=(named("vllm:num_requests_waiting"),),
    running=(named("vllm:num_requests_running"),),
    # V0, and V1 before 0.10, said `gpu_cache_usage_perc`; it is a share there, too.
    kv_usage=(named("vllm:kv_cache_usage_perc"), named("vllm:gpu_cache_usage_perc")),
    # Blocks of several groups (hybrid models) overlap, so the size in tokens is right where it is told, from 0.3x on.
    capacity_tokens=(named(_CACHE, "kv_cache_size_tokens"),),
    block_size=(named(_CACHE, "block_size"),),
    blocks=(named(_CACHE, "num_gpu_blocks"),),
    lifetime=(
        named("vllm:prefix_cache_queries_total"),
        named("vllm:gpu_prefix_cache_queries_total"),
        named("vllm:prompt_tokens_total"),
    ),
    lora=b"vllm:lora_requests_info",
    rank=b"engine",
)
