"""The page of TensorRT-LLM's `trtllm-serve`, which shows it at `/prometheus/metrics`. Writing it is `page`'s.

Names, types, labels and buckets are those of its `MetricsCollector` with `return_perf_metrics`; the help is ours.
"""

from __future__ import annotations

from igw.simulator.metrics.families import (
    Dialect,
    Family,
    Reading,
    Series,
    counter,
    gauge,
    histogram,
    labelled,
    never,
    of,
)


def _labels(model: str, _rank: int | None) -> dict[str, str]:
    return {"engine_type": "trtllm", "model_name": model}


def _used_blocks(reading: Reading) -> float:
    return round(reading.statistics.kv_usage * reading.config.num_gpu_blocks)


def _free_blocks(reading: Reading) -> float:
    return reading.config.num_gpu_blocks - _used_blocks(reading)


def _hit_rate(reading: Reading) -> float:
    queries = reading.statistics.prefix_queries_tokens
    return reading.statistics.prefix_hits_tokens / queries if queries else 0.0


def _completed(reading: Reading) -> float:
    return reading.statistics.finished_stop + reading.statistics.finished_length


TRTLLM = Dialect(
    families=(
        labelled(
            "trtllm_request_success_total",
            "counter",
            "Requests that ended well, by reason.",
            "finished_reason",
            {"end": of("finished_stop"), "length": of("finished_length")},
        ),
        histogram("trtllm_e2e_request_latency_seconds", "Request latency from end to end.", "latency"),
        histogram("trtllm_time_to_first_token_seconds", "Time to first token.", "time_to_first_token"),
        histogram("trtllm_time_per_output_token_seconds", "Time per output token.", "time_per_output_token"),
        histogram("trtllm_request_queue_time_seconds", "Time a request waited.", "queue_time"),
        gauge("trtllm_kv_cache_hit_rate", "Share of prompt tokens found in the KV cache.", _hit_rate),
        gauge("trtllm_kv_cache_utilization", "Share of KV cache blocks in use.", of("kv_usage")),
        counter("trtllm_num_requests_completed_total", "Requests that ended.", _completed),
        gauge("trtllm_num_requests_running", "Requests being served.", of("running")),
        gauge("trtllm_num_requests_waiting", "Requests in the queue.", of("waiting")),
        gauge(
            "trtllm_max_num_active_requests",
            "Most requests served at a time.",
            lambda r: r.config.max_num_seqs,
        ),
        gauge(
            "trtllm_iteration_latency_seconds",
            "Duration of the last iteration.",
            lambda r: r.histograms.last_step_seconds,
        ),
        gauge(
            "trtllm_max_batch_size_static", "Largest batch, as configured.", lambda r: r.config.max_num_seqs
        ),
        gauge("trtllm_max_batch_size_runtime", "Largest batch.", lambda r: r.config.max_num_seqs),
        gauge(
            "trtllm_max_num_tokens_runtime",
            "Most tokens in an iteration.",
            lambda r: r.config.max_num_batched_tokens,
        ),
        gauge("trtllm_kv_cache_max_blocks", "KV cache blocks.", lambda r: r.config.num_gpu_blocks),
        gauge("trtllm_kv_cache_free_blocks", "KV cache blocks that are free.", _free_blocks),
        gauge("trtllm_kv_cache_used_blocks", "KV cache blocks in use.", _used_blocks),
        gauge("trtllm_kv_cache_tokens_per_block", "Tokens in a block.", lambda r: r.config.block_size),
        gauge("trtllm_num_scheduled_requests", "Requests in the last iteration.", of("running")),
        gauge("trtllm_num_paused_requests", "Requests that were paused.", never),
        Family(
            "trtllm_cache_config_info",
            "gauge",
            "Settings of the KV cache, as labels.",
            (Series(lambda _r: 1.0, {"enable_block_reuse": "True", "enable_partial_reuse": "True"}),),
        ),
    ),
    labels=_labels,
    paths=("/prometheus/metrics",),
)
