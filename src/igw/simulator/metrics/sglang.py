"""SGLang's `/metrics` page as of 0.5.23: the families that gateways and dashboards read. Writing it is `page`'s."""

from __future__ import annotations

from collections.abc import Mapping

from igw.simulator.metrics.families import (
    Dialect,
    Distribution,
    Family,
    Kind,
    Reading,
    Series,
    Value,
    external_hits,
    histogram,
    never,
    of,
    summed,
)

# fmt: off
_FIRST_TOKEN = (
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
)
_PER_TOKEN = (
    0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0,
    2.0, 4.0, 6.0, 8.0,
)
_LENGTHS = (
    100.0, 300.0, 500.0, 700.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 7000.0, 8000.0, 9000.0, 10000.0,
    12500.0, 15000.0, 17500.0, 20000.0, 22500.0, 25000.0, 27500.0, 30000.0, 35000.0, 40000.0, 60000.0, 80000.0,
    100000.0, 200000.0, 300000.0, 400000.0, 600000.0, 800000.0, 1000000.0, 1100000.0,
)
_QUEUE = (
    0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
    70.0, 80.0, 90.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0, 1200.0, 1400.0, 1600.0,
    1800.0, 2000.0, 2500.0, 3000.0,
)
# fmt: on

_SCHEDULER = {"moe_ep_rank": "0", "pp_rank": "0", "tp_rank": "0"}
# Real pages tell streamed from whole answers; here all are counted in one series.
_ANY = {"is_streaming": "false"}


def _labels(model: str, _rank: int | None) -> dict[str, str]:
    return {"engine_type": "unified", "model_name": model}


def _bounds(_max_model_len: int) -> Mapping[str, tuple[float, ...]]:
    return {
        "time_to_first_token": _FIRST_TOKEN,
        "latency": (*_FIRST_TOKEN, 600.0, 1200.0, 1800.0, 2400.0),
        "inter_token_latency": _PER_TOKEN,
        "time_per_output_token": _PER_TOKEN,
        "prompt_tokens": _LENGTHS,
        "computed_tokens": _LENGTHS,
        "generation_tokens": _LENGTHS,
        "queue_time": _QUEUE,
    }


def _capacity_tokens(reading: Reading) -> float:
    return reading.config.num_gpu_blocks * reading.config.block_size


def _used_tokens(reading: Reading) -> float:
    return round(reading.statistics.kv_usage * reading.config.num_gpu_blocks) * reading.config.block_size


def _throughput(reading: Reading) -> float:
    # Of the last step; SGLang takes the mean of its last 40.
    seconds = reading.histograms.last_step_seconds
    return reading.statistics.running / seconds if seconds else 0.0


def _hit_rate(reading: Reading) -> float:
    # Since the start; SGLang's is that of the last prefill batch.
    queries = reading.statistics.prefix_queries_tokens
    return reading.statistics.prefix_hits_tokens / queries if queries else 0.0


def _computed(reading: Reading) -> float:
    return reading.statistics.prompt_tokens - reading.statistics.prompt_tokens_cached


def _device_hits(reading: Reading) -> float:
    return reading.statistics.prompt_tokens_cached - external_hits(reading)


def _scheduler(name: str, text: str, value: Value) -> Family:
    return Family(f"sglang:{name}", "gauge", text, (Series(value, _SCHEDULER),))


def _by(
    name: str, text: str, label: str, values: Mapping[str, Value], more: Mapping[str, str] = _SCHEDULER
) -> Family:
    kind: Kind = "counter"
    return Family(
        f"sglang:{name}",
        kind,
        text,
        tuple(Series(each, {**more, label: key}) for key, each in values.items()),
    )


def _finished(reading: Reading) -> float:
    return reading.histograms.latency.count


SGLANG = Dialect(
    families=(
        Family(
            "sglang:prompt_tokens_total",
            "counter",
            "Number of prefill tokens processed.",
            (Series(summed("prompt_tokens"), _ANY),),
        ),
        Family(
            "sglang:generation_tokens_total",
            "counter",
            "Number of generation tokens processed.",
            (Series(summed("generation_tokens"), _ANY),),
        ),
        Family(
            "sglang:num_requests_total",
            "counter",
            "Number of requests processed.",
            (Series(_finished, _ANY),),
        ),
        _by(
            "cached_tokens_total",
            "Number of cached prompt tokens by source (device/host/storage).",
            "cache_source",
            {"device": _device_hits},
            {},
        ),
        _by(
            "prefill_effective_tokens_total",
            "Effective prefill tokens with retracted-request re-counts excluded, updated on each log interval. mode: "
            "device_hit, host_hit, storage_hit, input. Windowed prefix cache hit rate = rate(sum of *_hit) / rate(sum of "
            "all modes); per-tier rate uses a single *_hit mode in the numerator.",
            "mode",
            {
                "input": _computed,
                "device_hit": _device_hits,
                "host_hit": external_hits,
                "storage_hit": never,
            },
        ),
        _by(
            "realtime_tokens_total",
            "Total number of tokens processed (updated on each log interval). mode: prefill_compute, prefill_cache, "
            "decode.",
            "mode",
            {
                "prefill_compute": _computed,
                "decode": of("generation_tokens"),
                "prefill_cache": of("prompt_tokens_cached"),
            },
        ),
        Distribution(
            "sglang:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            (("time_to_first_token", _ANY),),
        ),
        Distribution(
            "sglang:e2e_request_latency_seconds",
            "Histogram of End-to-end request latency in seconds",
            (("latency", _ANY),),
        ),
        Distribution(
            "sglang:request_time_per_output_token_seconds",
            "Per-request TPOT in seconds: (finished_time - first_token_time) / (completion_tokens - 1).",
            (("time_per_output_token", _ANY),),
        ),
        histogram("sglang:prompt_tokens_histogram", "Histogram of prompt token length.", "prompt_tokens"),
        histogram(
            "sglang:uncached_prompt_tokens_histogram",
            "Histogram of uncached (compute) prompt token length.",
            "computed_tokens",
        ),
        histogram(
            "sglang:generation_tokens_histogram",
            "Histogram of generation token length.",
            "generation_tokens",
        ),
        histogram(
            "sglang:inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            "inter_token_latency",
        ),
        Distribution(
            "sglang:queue_time_seconds",
            "Histogram of queueing time in seconds.",
            (("queue_time", _SCHEDULER),),
        ),
        _scheduler(
            "max_total_num_tokens", "Maximum total number of tokens in the KV cache pool.", _capacity_tokens
        ),
        _scheduler("page_size", "KV cache page size in tokens.", lambda r: r.config.block_size),
        _scheduler("num_pages", "Number of KV cache pages.", lambda r: r.config.num_gpu_blocks),
        _scheduler("context_len", "Maximum context length.", lambda r: r.config.max_model_len),
        _scheduler("num_running_reqs", "The number of running requests.", of("running")),
        _scheduler("num_queue_reqs", "The number of requests in the waiting queue.", of("waiting")),
        _scheduler("num_grammar_queue_reqs", "The number of requests in the grammar waiting queue.", never),
        _scheduler("gen_throughput", "The generation throughput (token/s).", _throughput),
        _scheduler("cache_hit_rate", "The prefix cache hit rate.", _hit_rate),
        _scheduler("token_usage", "The token usage.", of("kv_usage")),
        _scheduler("full_token_usage", "The token usage for full attention layers.", of("kv_usage")),
        _scheduler("num_used_tokens", "The number of used tokens.", _used_tokens),
        _scheduler(
            "kv_used_tokens", "Number of actively used token slots in the KV cache pool.", _used_tokens
        ),
        _scheduler("utilization", "The utilization.", never),
    ),
    labels=_labels,
    bounds=_bounds,
)
"""Labels for data-parallel ranks exist in SGLang, but were not recorded, so this dialect has one engine."""
