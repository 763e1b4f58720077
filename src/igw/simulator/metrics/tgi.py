"""The page of Hugging Face's text-generation-inference 3: names, types, labels, help and buckets. Writing it is `page`'s.

Not shown: times of validation, filtering and decoding of a batch, which take none here; `tgi_batch_next_size`;
`tgi_request_skipped_tokens`, for nothing is speculated; `tgi_request_failure`, which begins with the first failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, repeat

from igw.simulator.metrics.families import (
    Dialect,
    Distribution,
    Reading,
    Value,
    counter,
    gauge,
    histogram,
    labelled,
    of,
)

DURATION_BUCKETS = tuple(accumulate(repeat(1.5, 34), lambda bound, factor: bound * factor, initial=0.00015))
"""A tenth of a millisecond times 1.5, 1.5², ... 1.5³⁵."""

_STEPS = (("prefill_step", {"method": "prefill"}), ("decode_step", {"method": "decode"}))


def _bounds(max_model_len: int) -> Mapping[str, tuple[float, ...]]:
    durations = (
        "latency",
        "queue_time",
        "inference_time",
        "time_per_output_token",
        "prefill_step",
        "decode_step",
    )
    lengths = {
        "prompt_tokens": max_model_len - 1,
        "generation_tokens": max_model_len,
        "max_tokens": max_model_len,
    }
    return {
        **dict.fromkeys(durations, DURATION_BUCKETS),
        **{name: tuple(most / 100 * (n + 1) for n in range(100)) for name, most in lengths.items()},
    }


def _done(reading: Reading) -> float:
    return reading.statistics.finished_stop + reading.statistics.finished_length


def _received(reading: Reading) -> float:
    now = reading.statistics
    return _done(reading) + now.aborted + now.running + now.waiting


def _batch_tokens(reading: Reading) -> float:
    # What the batch holds; the real one counts what it may come to hold.
    return round(reading.statistics.kv_usage * reading.config.num_gpu_blocks) * reading.config.block_size


def _steps(name: str) -> Value:
    def value(reading: Reading) -> float:
        count: int = getattr(reading.histograms, name).count
        return count

    return value


_BY_METHOD = {"prefill": _steps("prefill_step"), "decode": _steps("decode_step")}

TGI = Dialect(
    families=(
        counter("tgi_request_count", "Total number of requests", _received),
        counter("tgi_request_success", "Number of successful requests", _done),
        labelled(
            "tgi_batch_inference_count",
            "counter",
            "Inference calls per method (prefill or decode)",
            "method",
            _BY_METHOD,
        ),
        labelled(
            "tgi_batch_inference_success",
            "counter",
            "Number of successful inference calls per method (prefill or decode)",
            "method",
            _BY_METHOD,
        ),
        gauge("tgi_batch_current_size", "Current batch size", of("running")),
        gauge("tgi_batch_current_max_tokens", "Maximum tokens for the current batch", _batch_tokens),
        gauge("tgi_queue_size", "Current queue size", of("waiting")),
        Distribution("tgi_batch_inference_duration", "Batch inference duration", _STEPS),
        Distribution(
            "tgi_batch_forward_duration", "Batch forward duration per method (prefill or decode)", _STEPS
        ),
        histogram("tgi_request_duration", "Total time spent processing the request", "latency"),
        histogram("tgi_request_queue_duration", "Time spent in the queue per request", "queue_time"),
        histogram("tgi_request_inference_duration", "Request inference duration", "inference_time"),
        histogram(
            "tgi_request_mean_time_per_token_duration",
            "Mean time per token per request",
            "time_per_output_token",
        ),
        histogram("tgi_request_input_length", "Input token length per request", "prompt_tokens"),
        histogram("tgi_request_generated_tokens", "Generated tokens per request", "generation_tokens"),
        histogram("tgi_request_max_new_tokens", "Maximum new tokens per request", "max_tokens"),
    ),
    labels=lambda _model, _rank: {},
    bounds=_bounds,
)
