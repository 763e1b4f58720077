"""vLLM's `/metrics` page as of 0.32: same names, types, labels, help and buckets. Writing it is `page`'s.

`NOT_SHOWN` lists what the real page has and this one has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from igw.simulator.engine.config import EngineConfig
from igw.simulator.metrics.families import (
    Block,
    Dialect,
    Distribution,
    Family,
    Rank,
    Series,
    counter,
    external_hits,
    gauge,
    histogram,
    labelled,
    never,
    of,
)
from igw.simulator.metrics.lora import lora_requests_info
from igw.simulator.metrics.page import head, written

NOT_SHOWN = {
    "_created": "times at which series began, which the Prometheus client adds and nobody reads",
    "process_": "of the process, in which many simulated servers may run",
    "python_": "of the process, in which many simulated servers may run",
}
"""Parts of names that are on a real vLLM's page and not on ours, with the reason."""


def labels(model: str, rank: int | None) -> dict[str, str]:
    """Return vLLM's labels of an engine: the served name, and the data-parallel rank as `engine`."""
    return {"model_name": model} | ({} if rank is None else {"engine": str(rank)})


RUNNING = gauge("vllm:num_requests_running", "Number of requests in model execution batches.", of("running"))
WAITING = gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", of("waiting"))
PREEMPTIONS = counter(
    "vllm:num_preemptions_total", "Cumulative number of preemption from the engine.", of("preemptions")
)
PROMPT_TOKENS = counter(
    "vllm:prompt_tokens_total", "Number of prefill tokens processed.", of("prompt_tokens")
)
GENERATION_TOKENS = counter(
    "vllm:generation_tokens_total", "Number of generation tokens processed.", of("generation_tokens")
)
LENGTHS = (
    histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.", "prompt_tokens"),
    histogram(
        "vllm:request_generation_tokens", "Number of generation tokens processed.", "generation_tokens"
    ),
    histogram(
        "vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", "iteration_tokens"
    ),
    histogram(
        "vllm:request_max_num_generation_tokens",
        "Histogram of maximum number of requested generation tokens.",
        "max_generation_tokens",
    ),
    histogram("vllm:request_params_n", "Histogram of the n request parameter.", "parallel"),
    histogram(
        "vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.", "max_tokens"
    ),
    histogram(
        "vllm:time_to_first_token_seconds",
        "Histogram of time to first token in seconds.",
        "time_to_first_token",
    ),
)
PHASES = (
    histogram(
        "vllm:request_queue_time_seconds",
        "Histogram of time spent in WAITING phase for request.",
        "queue_time",
    ),
    histogram(
        "vllm:request_inference_time_seconds",
        "Histogram of time spent in RUNNING phase for request.",
        "inference_time",
    ),
    histogram(
        "vllm:request_prefill_time_seconds",
        "Histogram of time spent in PREFILL phase for request.",
        "prefill_time",
    ),
    histogram(
        "vllm:request_decode_time_seconds",
        "Histogram of time spent in DECODE phase for request.",
        "decode_time",
    ),
)

FAMILIES: tuple[Family | Distribution, ...] = (
    counter(
        "vllm:estimated_flops_per_gpu_total",
        "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).",
        never,
    ),
    counter(
        "vllm:estimated_read_bytes_per_gpu_total",
        "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).",
        never,
    ),
    counter(
        "vllm:estimated_write_bytes_per_gpu_total",
        "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).",
        never,
    ),
    RUNNING,
    WAITING,
    labelled(
        "vllm:num_requests_waiting_by_reason",
        "gauge",
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; "
        "'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons "
        "equals vllm:num_requests_waiting.",
        "reason",
        {
            "capacity": lambda r: r.statistics.waiting - r.statistics.waiting_deferred,
            "deferred": of("waiting_deferred"),
        },
    ),
    labelled(
        "vllm:engine_sleep_state",
        "gauge",
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 "
        "means sleep level 1; discard_all = 1 means sleep level 2.",
        "sleep_state",
        {
            "awake": lambda reading: reading.sleep_level == 0,
            "weights_offloaded": lambda reading: reading.sleep_level == 1,
            "discard_all": lambda reading: reading.sleep_level == 2,
        },
    ),
    gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", of("kv_usage")),
    counter(
        "vllm:prefix_cache_queries_total",
        "Prefix cache queries, in terms of number of queried tokens.",
        of("prefix_queries_tokens"),
    ),
    counter(
        "vllm:prefix_cache_hits_total",
        "Prefix cache hits, in terms of number of cached tokens.",
        of("prefix_hits_tokens"),
    ),
    counter(
        "vllm:external_prefix_cache_queries_total",
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried "
        "tokens.",
        of("external_queries_tokens"),
    ),
    counter(
        "vllm:external_prefix_cache_hits_total",
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached "
        "tokens.",
        of("external_hits_tokens"),
    ),
    counter(
        "vllm:mm_cache_queries_total",
        "Multi-modal cache queries, in terms of number of queried items.",
        never,
    ),
    counter("vllm:mm_cache_hits_total", "Multi-modal cache hits, in terms of number of cached items.", never),
    PREEMPTIONS,
    PROMPT_TOKENS,
    labelled(
        "vllm:prompt_tokens_by_source_total",
        "counter",
        "Number of prompt tokens by source.",
        "source",
        {
            "local_compute": lambda r: r.statistics.prompt_tokens - r.statistics.prompt_tokens_cached,
            "local_cache_hit": lambda r: r.statistics.prompt_tokens_cached - external_hits(r),
            "external_kv_transfer": external_hits,
        },
    ),
    counter(
        "vllm:prompt_tokens_cached_total",
        "Number of cached prompt tokens (local + external).",
        of("prompt_tokens_cached"),
    ),
    labelled(
        "vllm:prompt_tokens_cached_by_source_total",
        "counter",
        "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host (offloaded to DRAM), "
        "disk, p2p (transferred from another vLLM instance) or external_unspecified. Counted at admission; sums to "
        "vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
        "source",
        {
            "device": of("prefix_hits_tokens"),
            "host": never,
            "p2p": never,
            "disk": never,
            "external_unspecified": of("external_hits_tokens"),
        },
    ),
    GENERATION_TOKENS,
    labelled(
        "vllm:request_success_total",
        "counter",
        "Count of successfully processed requests.",
        "finished_reason",
        {
            "stop": of("finished_stop"),
            "length": of("finished_length"),
            "abort": of("aborted"),
            "error": never,
            "repetition": never,
        },
    ),
    Family(
        "vllm:admission_rejections_total",
        "counter",
        "Number of admission attempts rejected by a queue limit, by reason.",
        tuple(Series(never, {"reason": each}) for each in ("max_num_queued_reqs", "max_num_queued_tokens")),
        whole=True,
    ),
    *LENGTHS,
    histogram(
        "vllm:inter_token_latency_seconds",
        "Histogram of inter-token latency in seconds.",
        "inter_token_latency",
    ),
    histogram(
        "vllm:request_time_per_output_token_seconds",
        "Histogram of time_per_output_token_seconds per request.",
        "time_per_output_token",
    ),
    histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", "latency"),
    *PHASES,
    histogram(
        "vllm:request_num_preemptions",
        "Histogram of the number of times a request was preempted.",
        "preemptions",
    ),
    histogram(
        "vllm:request_prefill_kv_computed_tokens",
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
        "computed_tokens",
    ),
)


# Settings that mean nothing here, with the values of a plain vLLM; its page shows them all as labels.
_PLAIN_CACHE_CONFIG = """\
_block_size_resolved=True cache_dtype=auto cache_hit_alignment_tokens=None
enable_mamba_shared_prefix_checkpoint=False gpu_memory_utilization=0.92
hash_block_size=None is_attention_free=False kv_cache_dtype_skip_layers=[] kv_cache_layout=None
kv_cache_memory_bytes=None kv_offloading_backend=native kv_offloading_size=None kv_sharing_fast_prefill=False
mamba_block_size=None mamba_cache_dtype=auto mamba_cache_mode=none mamba_page_size_padded=None
mamba_ssm_cache_dtype=float32 num_cpu_blocks=None num_gpu_blocks_override=None
prefix_cache_retention_interval=0 prefix_caching_hash_algo=sha256 prefix_match_unit=None
replayssm_buffer_len=16 skip_page_size_padded=None sliding_window=None swa_bounded_replay=True
use_kda_recoverssm=False use_replayssm=False user_specified_block_size=True
"""


def cache_config_labels(config: EngineConfig) -> dict[str, str]:
    """Return the labels of `vllm:cache_config_info`, without the engine's."""
    tokens = config.num_gpu_blocks * config.block_size
    return {
        **dict(pair.split("=") for pair in _PLAIN_CACHE_CONFIG.split()),
        "block_size": str(config.block_size),
        "effective_attention_block_size": str(config.block_size),
        "enable_prefix_caching": str(config.enable_prefix_caching),
        "kv_cache_max_concurrency": str(tokens / config.max_model_len),
        "kv_cache_size_tokens": str(tokens),
        "num_gpu_blocks": str(config.num_gpu_blocks),
    }


def _blocks(_model: str, ranks: Sequence[Rank]) -> Iterable[Block]:
    if ranks[0].config.max_loras:
        yield lora_requests_info(ranks[0].config.max_loras)
    lines = [
        written("vllm:cache_config_info", {**cache_config_labels(rank.config), "engine": str(rank.number)})
        + "1.0\n"
        for rank in ranks
    ]
    config = head("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig") + "".join(
        lines
    )
    yield lambda _readings: config


VLLM = Dialect(FAMILIES, labels, blocks=_blocks, ranks=True, http_requests=True)
