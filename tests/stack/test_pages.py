"""Reading the picker's and the servers' metrics pages."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from igw.stack import pages

SERVER = b"""\
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 4.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 100.0
"""


def test_finished_requests_leave_out_the_aborted_ones() -> None:
    """What a client gave up is not an answer."""
    assert pages.finished(SERVER) == 7
    assert pages.finished(b"") == 0


def test_reservations_that_are_not_told_are_an_error_and_not_zero() -> None:
    """A check must not pass because a metric is gone."""
    assert pages.reservations(b'igw_reservations_open{pool="a"} 2\nigw_reservations_open{pool="b"} 1\n') == 3
    with pytest.raises(LookupError, match="igw_reservations_open"):
        pages.reservations(SERVER)


def test_a_histogram_without_observations_is_nothing() -> None:
    """There is no mean of nothing."""
    assert pages.durations(b"", b"h") is None
    assert pages.durations(b"h_count 0\nh_sum 0\n", b"h") is None


def test_the_series_of_a_histogram_are_added_up() -> None:
    """Labels other than the bound do not matter."""
    page = (
        b'h_bucket{a="1",le="1.0"} 50\nh_bucket{a="1",le="2.0"} 50\nh_bucket{a="1",le="+Inf"} 50\n'
        b'h_bucket{a="2",le="1.0"} 40\nh_bucket{a="2",le="2.0"} 50\nh_bucket{a="2",le="+Inf"} 50\n'
        b'h_sum{a="1"} 30\nh_sum{a="2"} 45\nh_count{a="1"} 50\nh_count{a="2"} 50\n'
    )
    got = pages.durations(page, b"h")
    assert got == pages.Durations(count=100, mean_seconds=0.75, p99_seconds=1.9)


def test_a_p99_over_the_last_bound_is_infinite() -> None:
    """It is not made up."""
    page = b'h_bucket{le="1.0"} 1\nh_bucket{le="+Inf"} 2\nh_sum 9\nh_count 2\n'
    assert pages.durations(page, b"h") == pages.Durations(2, 4.5, math.inf)


@given(st.lists(st.floats(0.0001, 0.99), min_size=1, max_size=60))
def test_the_p99_lies_in_the_bucket_of_the_true_one(values: list[float]) -> None:
    """Law: interpolation never leaves the bucket; the mean is exact."""
    registry = CollectorRegistry()
    bounds = (0.01, 0.1, 0.3, 1.0)
    histogram = Histogram("h", "h", registry=registry, buckets=bounds)
    for value in values:
        histogram.observe(value)
    got = pages.durations(generate_latest(registry), b"h")
    assert got is not None
    true = sorted(values)[math.ceil(0.99 * len(values)) - 1]
    upper = next(bound for bound in bounds if true <= bound)
    assert upper / 100 <= got.p99_seconds <= upper
    assert max((b for b in bounds if b < upper), default=0) <= got.p99_seconds
    assert got.mean_seconds == pytest.approx(sum(values) / len(values))
