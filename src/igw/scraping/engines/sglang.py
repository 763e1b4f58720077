"""SGLang. Source: a page of 0.5.23 (`--enable-metrics`); `cache_config_info` is of older versions."""

from __future__ import annotations

from igw.scraping.mapping import Engine, named

_CACHE = "sglang:cache_config_info"

SGLANG = Engine(
    "sglang",
    marks=(b"sglang:",),
    waiting=(named("sglang:num_queue_reqs"),),
    running=(named("sglang:num_running_reqs"),),
    kv_usage=(named("sglang:token_usage"), named("sglang:full_token_usage")),
    capacity_tokens=(named("sglang:max_total_num_tokens"),),
    block_size=(named("sglang:page_size"), named(_CACHE, "page_size")),
    blocks=(named("sglang:num_pages"), named(_CACHE, "num_pages")),
    lifetime=(named("sglang:prompt_tokens_total"),),
    # `tp_rank` and `pp_rank` are parts of one engine that all show its queue.
    rank=b"dp_rank",
)
