"""What a server tells of itself: vLLM's `/metrics` page, same names, types, labels and buckets. Looks at no clock.

Written by hand because many servers in one process are scraped many times a second: 50 us where a library takes 1.3 ms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from igw.simulator.engine.engine import EngineConfig, Statistics
from igw.simulator.engine.sequence import Emission

TTFT_BUCKETS: tuple[float, ...] = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
    160.0,
    640.0,
    2560.0,
)
TOKEN_BUCKETS: tuple[float, ...] = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
LATENCY_BUCKETS: tuple[float, ...] = (
    0.3,
    0.5,
    0.8,
    1.0,
    1.5,
    2.0,
    2.5,
    5.0,
    10.0,
    15.0,
    20.0,
    30.0,
    40.0,
    50.0,
    60.0,
    120.0,
    240.0,
    480.0,
    960.0,
    1920.0,
    7680.0,
)


def length_buckets(max_model_len: int) -> tuple[float, ...]:
    """Return 1, 2, 5, 10, 20, ... up to the model's length, as vLLM's `build_1_2_5_buckets`."""
    buckets: list[float] = []
    scale = 1
    while scale <= max_model_len:
        buckets += [float(m * scale) for m in (1, 2, 5) if m * scale <= max_model_len]
        scale *= 10
    return tuple(buckets)


class Histogram:
    """One Prometheus histogram without labels of its own."""

    def __init__(self, name: str, text: str, buckets: tuple[float, ...], labels: str) -> None:
        self._buckets = buckets
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._head = f"# HELP {name} {text}\n# TYPE {name} histogram\n"
        self._lines = [f'{name}_bucket{{{labels},le="{bound}"}} ' for bound in (*buckets, "+Inf")]
        self._count_line = f"{name}_count{{{labels}}} "
        self._sum_line = f"{name}_sum{{{labels}}} "

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def render(self) -> Iterator[str]:
        """Yield the lines of the exposition format, each with its line end."""
        yield self._head
        total = 0
        for line, count in zip(self._lines, self._counts, strict=True):
            total += count
            yield f"{line}{total:.1f}\n"
        yield f"{self._count_line}{total:.1f}\n{self._sum_line}{self._sum!r}\n"


class Histograms:
    """The distributions of one server, filled as tokens go out; seconds are those of the wall."""

    def __init__(self, model: str, max_model_len: int) -> None:
        labels, lengths = _labels(model), length_buckets(max_model_len)

        def make(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"vllm:{name}", text, buckets, labels)

        self.prompt_tokens = make("request_prompt_tokens", "Number of prefill tokens processed.", lengths)
        self.generation_tokens = make(
            "request_generation_tokens", "Number of generation tokens processed.", lengths
        )
        self.time_to_first_token = make(
            "time_to_first_token_seconds", "Histogram of time to first token in seconds.", TTFT_BUCKETS
        )
        self.inter_token_latency = make(
            "inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", TOKEN_BUCKETS
        )
        self.time_per_output_token = make(
            "request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            TOKEN_BUCKETS,
        )
        self.latency = make(
            "e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", LATENCY_BUCKETS
        )
        self.queue_time = make(
            "request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
            LATENCY_BUCKETS,
        )

    def finished(self, last: Emission, arrived: float, first_token: float, now: float) -> None:
        """Count a sequence whose last emission is *last*."""
        tokens = last.total_tokens
        self.prompt_tokens.observe(last.sequence.prompt_tokens)
        self.generation_tokens.observe(tokens)
        self.time_per_output_token.observe((now - first_token) / (tokens - 1) if tokens > 1 else 0.0)
        self.latency.observe(now - arrived)
        self.queue_time.observe(last.queued_seconds)

    def all(self) -> tuple[Histogram, ...]:
        """Return them in the order of the page."""
        return (
            self.prompt_tokens,
            self.generation_tokens,
            self.time_to_first_token,
            self.inter_token_latency,
            self.time_per_output_token,
            self.latency,
            self.queue_time,
        )


class Page:
    """Renders the page of one server."""

    def __init__(self, model: str, config: EngineConfig, histograms: Histograms) -> None:
        labels = _labels(model)
        self._histograms = histograms
        self._info = _cache_config_info(config)
        self._scalars = [
            (attribute, f"{_head(name, kind, text)}vllm:{name}{{{labels}}} ")
            for name, kind, text, attribute in _SCALARS
        ]
        self._labelled = [
            (
                _head(name, kind, text),
                [(key, f'vllm:{name}{{{labels},{label}="{value}"}} ') for value, key in values],
            )
            for name, kind, text, label, values in _LABELLED
        ]

    def render(self, now: Statistics) -> bytes:
        """Return the exposition of this instant."""
        parts = [f"{start}{float(getattr(now, attribute))}\n" for attribute, start in self._scalars]
        for head, lines in self._labelled:
            parts.append(head)
            parts += [
                f"{start}{float(getattr(now, attribute)) if attribute else 0.0}\n"
                for attribute, start in lines
            ]
        for histogram in self._histograms.all():
            parts.extend(histogram.render())
        parts.append(self._info)
        return "".join(parts).encode()


# Name, type, help, and the field of `Statistics` that holds the value.
_SCALARS = (
    ("num_requests_running", "gauge", "Number of requests in model execution batches.", "running"),
    ("num_requests_waiting", "gauge", "Number of requests waiting to be processed.", "waiting"),
    ("kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", "kv_usage"),
    (
        "prefix_cache_queries_total",
        "counter",
        "Prefix cache queries, in terms of number of queried tokens.",
        "prefix_queries_tokens",
    ),
    (
        "prefix_cache_hits_total",
        "counter",
        "Prefix cache hits, in terms of number of cached tokens.",
        "prefix_hits_tokens",
    ),
    ("num_preemptions_total", "counter", "Cumulative number of preemption from the engine.", "preemptions"),
    ("prompt_tokens_total", "counter", "Number of prefill tokens processed.", "prompt_tokens"),
    (
        "prompt_tokens_cached_total",
        "counter",
        "Number of cached prompt tokens (local + external).",
        "prompt_tokens_cached",
    ),
    ("generation_tokens_total", "counter", "Number of generation tokens processed.", "generation_tokens"),
)

# Name, type, help, label, and per label value the field; values without one never occur here but are on vLLM's page.
_LABELLED = (
    (
        "num_requests_waiting_by_reason",
        "gauge",
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling capacity; "
        "'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked status). Sum of all reasons "
        "equals vllm:num_requests_waiting.",
        "reason",
        (("capacity", "waiting"), ("deferred", "")),
    ),
    (
        "request_success_total",
        "counter",
        "Count of successfully processed requests.",
        "finished_reason",
        (
            ("stop", "finished_stop"),
            ("length", "finished_length"),
            ("abort", "aborted"),
            ("error", ""),
            ("repetition", ""),
        ),
    ),
)


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP vllm:{name} {text}\n# TYPE vllm:{name} {kind}\n"


def _labels(model: str) -> str:
    escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'engine="0",model_name="{escaped}"'


# Settings that mean nothing here, with the values of a plain vLLM; its page shows them all as labels.
_PLAIN_CACHE_CONFIG = """\
_block_size_resolved=True cache_dtype=auto cache_hit_alignment_tokens=None
enable_mamba_shared_prefix_checkpoint=False enable_prefix_caching=True engine=0 gpu_memory_utilization=0.9
hash_block_size=None is_attention_free=False kv_cache_dtype_skip_layers=[] kv_cache_layout=None
kv_cache_memory_bytes=None kv_offloading_backend=native kv_offloading_size=None kv_sharing_fast_prefill=False
mamba_block_size=None mamba_cache_dtype=auto mamba_cache_mode=none mamba_page_size_padded=None
mamba_ssm_cache_dtype=float32 num_cpu_blocks=None num_gpu_blocks_override=None
prefix_cache_retention_interval=0 prefix_caching_hash_algo=xxhash prefix_match_unit=None
replayssm_buffer_len=16 skip_page_size_padded=None sliding_window=None swa_bounded_replay=True
use_kda_recoverssm=False use_replayssm=False user_specified_block_size=True
"""


def _cache_config_info(config: EngineConfig) -> str:
    tokens = config.num_gpu_blocks * config.block_size
    values = {
        **dict(pair.split("=") for pair in _PLAIN_CACHE_CONFIG.split()),
        "block_size": config.block_size,
        "effective_attention_block_size": config.block_size,
        "kv_cache_max_concurrency": tokens / config.max_model_len,
        "kv_cache_size_tokens": tokens,
        "num_gpu_blocks": config.num_gpu_blocks,
    }
    labels = ",".join(f'{key}="{value}"' for key, value in values.items())
    head = _head("cache_config_info", "gauge", "Information of the LLMEngine CacheConfig")
    return f"{head}vllm:cache_config_info{{{labels}}} 1.0\n"
