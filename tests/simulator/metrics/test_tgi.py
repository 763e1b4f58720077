"""The page of TGI, of which there is no recording: names, types, help and buckets as its source and documentation have them."""

from __future__ import annotations

import msgspec
import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.tgi import DURATION_BUCKETS, TGI
from tests.simulator.metrics.pages import CONFIG, distributions, one_request, page, value


def test_the_page_tells_queue_and_batch() -> None:
    """Without any label, and requests counted from their arrival."""
    now = msgspec.structs.replace(
        Engine(CONFIG).statistics(), running=3, waiting=2, kv_usage=0.25, finished_length=5, aborted=1
    )
    found = page(TGI, now)
    assert found["tgi_queue_size"].samples[0].labels == {}
    assert value(found, "tgi_queue_size") == 2
    assert value(found, "tgi_batch_current_size") == 3
    assert value(found, "tgi_batch_current_max_tokens") == 4000
    assert value(found, "tgi_request_count_total") == 11
    assert value(found, "tgi_request_success_total") == 5


def test_batches_are_told_apart_by_method() -> None:
    """Steps that computed a prompt, and those that did not."""
    histograms = distributions(TGI)
    one_request(histograms)
    found = page(TGI, histograms=histograms)
    for method, seconds in (("prefill", 0.75), ("decode", 0.1)):
        assert value(found, "tgi_batch_inference_count_total", method=method) == 1
        assert value(found, "tgi_batch_forward_duration_sum", method=method) == seconds
    assert value(found, "tgi_request_duration_sum") == 2.0
    assert value(found, "tgi_request_mean_time_per_token_duration_sum") == pytest.approx(0.1)
    assert value(found, "tgi_request_input_length_sum") == 7


def test_buckets_are_tgis() -> None:
    """Durations by factors of 1.5 from 0.15 ms on, lengths in hundredths of the limit."""
    assert len(DURATION_BUCKETS) == 35
    assert DURATION_BUCKETS[:2] == pytest.approx((0.00015, 0.000225))
    assert DURATION_BUCKETS[-1] == pytest.approx(0.0001 * 1.5**35)
    histograms = distributions(TGI)
    assert len(histograms.generation_tokens.bounds) == 100
    assert histograms.generation_tokens.bounds[-1] == CONFIG.max_model_len
