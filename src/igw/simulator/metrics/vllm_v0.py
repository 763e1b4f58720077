"""vLLM's `/metrics` page of the generation before V1 (0.7): its older names and fewer buckets. Writing it is `page`'s.

Not shown: speculative decoding, `vllm:tokens_total`, `vllm:time_in_queue_requests` and the two `model_*_time` histograms,
which that release added for debugging.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from igw.simulator.metrics.families import (
    Block,
    Dialect,
    Rank,
    Reading,
    gauge,
    histogram,
    labelled,
    never,
    of,
)
from igw.simulator.metrics.histograms import LATENCY_BUCKETS, TOKEN_BUCKETS, TTFT_BUCKETS
from igw.simulator.metrics.lora import lora_requests_info
from igw.simulator.metrics.page import head, written
from igw.simulator.metrics.vllm import (
    GENERATION_TOKENS,
    LENGTHS,
    PHASES,
    PREEMPTIONS,
    PROMPT_TOKENS,
    WAITING,
)


def _labels(model: str, _rank: int | None) -> dict[str, str]:
    return {"model_name": model}


def _bounds(_max_model_len: int) -> Mapping[str, tuple[float, ...]]:
    latencies = ("latency", "queue_time", "inference_time", "prefill_time", "decode_time")
    return {
        **dict.fromkeys(latencies, LATENCY_BUCKETS[:15]),
        "time_to_first_token": TTFT_BUCKETS[:16],
        "inter_token_latency": TOKEN_BUCKETS[:13],
        # 8096 is as it was written there.
        "iteration_tokens": (1.0, *(float(2**n) for n in range(3, 13)), 8096.0),
    }


def _hit_rate(reading: Reading) -> float:
    queries = reading.statistics.prefix_queries_tokens
    return reading.statistics.prefix_hits_tokens / queries if queries else 0.0


def _blocks(_model: str, ranks: Sequence[Rank]) -> Iterable[Block]:
    config = ranks[0].config
    if config.max_loras:
        yield lora_requests_info(config.max_loras)
    labels = {
        "block_size": str(config.block_size),
        "cache_dtype": "auto",
        "cpu_offload_gb": "0",
        "enable_prefix_caching": str(config.enable_prefix_caching),
        "gpu_memory_utilization": "0.9",
        "is_attention_free": "False",
        "num_cpu_blocks": str(config.cpu_blocks),
        "num_gpu_blocks": str(config.num_gpu_blocks),
        "num_gpu_blocks_override": "None",
        "sliding_window": "None",
        "swap_space_bytes": "4294967296",
    }
    name = "vllm:cache_config_info"
    line = head(name, "gauge", "Information of the LLMEngine CacheConfig") + written(name, labels) + "1.0\n"
    yield lambda _readings: line


VLLM_V0 = Dialect(
    families=(
        gauge("vllm:num_requests_running", "Number of requests currently running on GPU.", of("running")),
        WAITING,
        gauge("vllm:num_requests_swapped", "Number of requests swapped to CPU.", never),
        gauge("vllm:gpu_cache_usage_perc", "GPU KV-cache usage. 1 means 100 percent usage.", of("kv_usage")),
        gauge("vllm:cpu_cache_usage_perc", "CPU KV-cache usage. 1 means 100 percent usage.", of("cpu_usage")),
        gauge("vllm:cpu_prefix_cache_hit_rate", "CPU prefix cache block hit rate.", never),
        gauge("vllm:gpu_prefix_cache_hit_rate", "GPU prefix cache block hit rate.", _hit_rate),
        PREEMPTIONS,
        PROMPT_TOKENS,
        GENERATION_TOKENS,
        labelled(
            "vllm:request_success_total",
            "counter",
            "Count of successfully processed requests.",
            "finished_reason",
            {"stop": of("finished_stop"), "length": of("finished_length"), "abort": of("aborted")},
        ),
        *LENGTHS,
        histogram(
            "vllm:time_per_output_token_seconds",
            "Histogram of time per output token in seconds.",
            "inter_token_latency",
        ),
        histogram(
            "vllm:e2e_request_latency_seconds",
            "Histogram of end to end request latency in seconds.",
            "latency",
        ),
        *PHASES,
    ),
    labels=_labels,
    bounds=_bounds,
    blocks=_blocks,
    http_requests=True,
)
