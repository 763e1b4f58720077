"""How values spread: what one engine's requests and steps measured, filled while tokens go out. Looks at no clock.

How an engine's dialect names and shows them is in `page` and in one file per dialect.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from igw.simulator.engine.sequence import Emission

# fmt: off
TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)
TOKEN_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)
LATENCY_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)
# fmt: on
ITERATION_BUCKETS = (1.0, *(float(2**n) for n in range(3, 15)))
PARALLEL_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0)
PREEMPTION_BUCKETS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)


def length_buckets(max_model_len: int) -> tuple[float, ...]:
    """Return 1, 2, 5, 10, 20, ... up to the model's length, as vLLM's `build_1_2_5_buckets`."""
    buckets: list[float] = []
    scale = 1
    while scale <= max_model_len:
        buckets += [float(m * scale) for m in (1, 2, 5) if m * scale <= max_model_len]
        scale *= 10
    return tuple(buckets)


class Histogram:
    """Counts values by upper bounds (inclusive, as Prometheus' `le`); `sum` and `count` are those of all values."""

    __slots__ = ("_counts", "bounds", "changes", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self.changes = 0
        """How often something was observed, so that a reader knows whether what it wrote is out of date."""
        self._counts = [0] * (len(bounds) + 1)

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self._counts)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, which came so many times."""
        self._counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times
        self.changes += 1

    def cumulated(self) -> Iterator[int]:
        """Yield for each bound, and at the end for infinity, how many values are not above it."""
        total = 0
        for count in self._counts:
            total += count
            yield total


class Histograms:
    """The distributions of one engine; durations in seconds of the wall, lengths in tokens.

    `bounds` replaces vLLM's bucket bounds by name, for dialects that have others.
    """

    def __init__(self, max_model_len: int, bounds: Mapping[str, tuple[float, ...]] | None = None) -> None:
        own = bounds or {}

        def make(name: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(own.get(name, buckets))

        lengths = length_buckets(max_model_len)
        # Per request.
        self.prompt_tokens = make("prompt_tokens", lengths)
        self.generation_tokens = make("generation_tokens", lengths)
        self.computed_tokens = make("computed_tokens", lengths)
        self.max_generation_tokens = make("max_generation_tokens", lengths)
        self.max_tokens = make("max_tokens", lengths)
        self.parallel = make("parallel", PARALLEL_BUCKETS)
        self.preemptions = make("preemptions", PREEMPTION_BUCKETS)
        self.latency = make("latency", LATENCY_BUCKETS)
        self.queue_time = make("queue_time", LATENCY_BUCKETS)
        self.inference_time = make("inference_time", LATENCY_BUCKETS)
        self.prefill_time = make("prefill_time", LATENCY_BUCKETS)
        self.decode_time = make("decode_time", LATENCY_BUCKETS)
        self.time_per_output_token = make("time_per_output_token", TOKEN_BUCKETS)
        self.time_to_first_token = make("time_to_first_token", TTFT_BUCKETS)
        # Per token and per step.
        self.inter_token_latency = make("inter_token_latency", TOKEN_BUCKETS)
        self.iteration_tokens = make("iteration_tokens", ITERATION_BUCKETS)
        self.prefill_step = make("prefill_step", LATENCY_BUCKETS)
        self.decode_step = make("decode_step", LATENCY_BUCKETS)
        self.last_step_seconds = 0.0

    def stepped(self, tokens: int, seconds: float, *, prefill: bool) -> None:
        """Count one engine step over so many tokens: computed ones of prompts, and sampled ones."""
        self.iteration_tokens.observe(tokens)
        (self.prefill_step if prefill else self.decode_step).observe(seconds)
        self.last_step_seconds = seconds

    def finished(
        self, last: Emission, *, arrived: float, submitted: float, first_token: float, now: float
    ) -> None:
        """Count a sequence whose last emission is *last*; times are those of one clock, in seconds.

        It came to the server at `arrived` and to its engine at `submitted`, where it ran after `queued_seconds`.
        """
        tokens, scheduled = last.total_tokens, submitted + last.queued_seconds
        decode = now - first_token
        self.prompt_tokens.observe(last.sequence.prompt_tokens)
        self.generation_tokens.observe(tokens)
        self.computed_tokens.observe(last.sequence.prompt_tokens - last.cached_tokens)
        self.preemptions.observe(last.preemptions)
        self.time_per_output_token.observe(decode / (tokens - 1) if tokens > 1 else 0.0)
        self.latency.observe(now - arrived)
        self.queue_time.observe(last.queued_seconds)
        self.prefill_time.observe(first_token - scheduled)
        self.decode_time.observe(decode)
        self.inference_time.observe(now - scheduled)

    def answered(self, parallel: int, max_tokens: int, longest_tokens: int) -> None:
        """Count a prompt all whose *parallel* answers have ended, the longest with so many tokens.

        `max_tokens` is what the client allowed, or what was left of the model's length if it said nothing.
        """
        self.parallel.observe(parallel)
        self.max_tokens.observe(max_tokens)
        self.max_generation_tokens.observe(longest_tokens)
