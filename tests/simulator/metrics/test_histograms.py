"""Counting by buckets, and what a request leaves in each distribution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.simulator.metrics.histograms import Histogram, Histograms, length_buckets
from tests.simulator.metrics.pages import one_request


def test_a_value_on_a_bound_is_not_above_it() -> None:
    """`le` means less or equal."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert list(histogram.cumulated()) == [2, 3, 4]
    assert (histogram.count, histogram.sum) == (4, 12.0)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5))))
def test_each_bucket_counts_what_is_not_above_its_bound(values: list[tuple[float, int]]) -> None:
    """Whatever comes, one at a time or several."""
    bounds = (1.0, 2.5, 10.0)
    histogram = Histogram(bounds)
    for value, times in values:
        histogram.observe(value, times)
    expected = [sum(times for value, times in values if value <= bound) for bound in (*bounds, float("inf"))]
    assert list(histogram.cumulated()) == expected
    assert histogram.sum == pytest.approx(sum(value * times for value, times in values))


def test_a_finished_request_is_in_every_distribution_of_requests() -> None:
    """A quarter of a second queued, the first token after one second, the eleventh after two."""
    histograms = Histograms(8192)
    one_request(histograms)
    found = {name: each.sum for name, each in vars(histograms).items() if isinstance(each, Histogram)}
    assert found == {
        "prompt_tokens": 7,
        "generation_tokens": 11,
        "computed_tokens": 3,
        "max_generation_tokens": 11,
        "max_tokens": 11,
        "parallel": 1,
        "preemptions": 0,
        "latency": 2.0,
        "queue_time": 0.25,
        "inference_time": 1.75,
        "prefill_time": 0.75,
        "decode_time": 1.0,
        "time_per_output_token": pytest.approx(0.1),
        "time_to_first_token": 1.0,
        "inter_token_latency": 0.0,
        "iteration_tokens": 8,
        "prefill_step": 0.75,
        "decode_step": 0.1,
    }


def test_a_dialect_may_have_its_own_bounds() -> None:
    """By name; the others stay vLLM's."""
    histograms = Histograms(8192, {"latency": (1.0,)})
    assert histograms.latency.bounds == (1.0,)
    assert histograms.queue_time.bounds[0] == 0.3


def test_length_buckets_stop_at_the_models_length() -> None:
    """1-2-5 series."""
    assert length_buckets(8192)[-3:] == (1000.0, 2000.0, 5000.0)
    assert length_buckets(1) == (1.0,)
