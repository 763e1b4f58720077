"""The page of Triton with its TensorRT-LLM backend (Triton 2.51). Writing it is `page`'s.

Real Triton shows it on a port of its own, 8002; here it is on the server's. Durations are in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from igw.simulator.metrics.families import (
    Dialect,
    Family,
    Reading,
    Value,
    counter,
    gauge,
    labelled,
    never,
    of,
)


def _labels(model: str, _rank: int | None) -> dict[str, str]:
    return {"model": model, "version": "1"}


def _done(reading: Reading) -> float:
    return reading.statistics.finished_stop + reading.statistics.finished_length


def _microseconds(name: str) -> Value:
    def value(reading: Reading) -> float:
        total: float = getattr(reading.histograms, name).sum
        return round(total * 1e6)

    return value


def _used_blocks(reading: Reading) -> float:
    return round(reading.statistics.kv_usage * reading.config.num_gpu_blocks)


def _trt_llm(name: str, text: str, label: str, values: Mapping[str, Value]) -> Family:
    return labelled(f"nv_trt_llm_{name}_metrics", "gauge", text, label, values)


TRITON = Dialect(
    families=(
        counter(
            "nv_inference_request_success",
            "Number of successful inference requests, all batch sizes",
            _done,
        ),
        labelled(
            "nv_inference_request_failure",
            "counter",
            "Number of failed inference requests, all batch sizes",
            "reason",
            {"OTHER": never, "BACKEND": never, "CANCELED": of("aborted"), "REJECTED": never},
        ),
        counter(
            "nv_inference_count", "Number of inferences performed (does not include cached requests)", _done
        ),
        counter(
            "nv_inference_exec_count",
            "Number of model executions performed (does not include cached requests)",
            _done,
        ),
        counter(
            "nv_inference_request_duration_us",
            "Cumulative inference request duration in microseconds (includes cached requests)",
            _microseconds("latency"),
        ),
        counter(
            "nv_inference_queue_duration_us",
            "Cumulative inference queuing duration in microseconds (includes cached requests)",
            _microseconds("queue_time"),
        ),
        counter(
            "nv_inference_compute_input_duration_us",
            "Cumulative compute input duration in microseconds (does not include cached requests)",
            never,
        ),
        counter(
            "nv_inference_compute_infer_duration_us",
            "Cumulative compute inference duration in microseconds (does not include cached requests)",
            _microseconds("inference_time"),
        ),
        counter(
            "nv_inference_compute_output_duration_us",
            "Cumulative inference compute output duration in microseconds (does not include cached requests)",
            never,
        ),
        gauge(
            "nv_inference_pending_request_count",
            "Instantaneous number of pending requests awaiting execution per-model.",
            of("waiting"),
        ),
        _trt_llm(
            "request",
            "TRT LLM request metrics",
            "request_type",
            {
                "waiting": of("waiting"),
                "context": never,
                "scheduled": of("running"),
                "max": lambda r: r.config.max_num_seqs,
                "active": lambda r: r.statistics.running + r.statistics.waiting,
            },
        ),
        _trt_llm(
            "runtime_memory",
            "TRT LLM runtime memory metrics",
            "memory_type",
            {"pinned": never, "gpu": never, "cpu": never},
        ),
        _trt_llm(
            "kv_cache_block",
            "TRT LLM KV cache block metrics",
            "kv_cache_block_type",
            {
                "fraction": of("kv_usage"),
                "tokens_per": lambda r: r.config.block_size,
                "used": _used_blocks,
                "free": lambda r: r.config.num_gpu_blocks - _used_blocks(r),
                "max": lambda r: r.config.num_gpu_blocks,
                "reused": lambda r: r.statistics.prefix_hits_tokens // r.config.block_size,
            },
        ),
        _trt_llm(
            "inflight_batcher",
            "TRT LLM inflight_batcher-specific metrics",
            "inflight_batcher_specific_metric",
            {"micro_batch_id": never, "generation_requests": of("running"), "total_context_tokens": never},
        ),
        _trt_llm(
            "general",
            "General TRT LLM metrics",
            "general_type",
            {
                "iteration_counter": lambda r: r.histograms.iteration_tokens.count,
                "timestamp": lambda r: r.wall_seconds,
            },
        ),
    ),
    labels=_labels,
)
