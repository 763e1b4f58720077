"""The page of SGLang's dialect against one recorded from SGLang 0.5.23."""

from __future__ import annotations

import msgspec
import pytest

from igw.simulator.engine.engine import Engine
from igw.simulator.metrics.sglang import SGLANG
from tests.simulator.metrics.pages import CONFIG, distributions, one_request, page, recorded, shape, value

RECORDED = recorded("sglang-0.5.23-metrics.txt")


def test_every_family_is_one_of_sglangs() -> None:
    """The recorded page was cut to those the dialect shows, so both hold the same."""
    assert set(page(SGLANG)) == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_a_family_has_sglangs_type_and_help_and_series(name: str) -> None:
    """The same labels and buckets, in any order."""
    ours, theirs = page(SGLANG)[name], RECORDED[name]
    assert (ours.type, ours.documentation) == (theirs.type, theirs.documentation)
    assert sorted(shape(ours)) == sorted(shape(theirs))


def test_the_page_tells_what_gateways_read() -> None:
    """Queue, batch, memory, hit rate."""
    now = msgspec.structs.replace(
        Engine(CONFIG).statistics(),
        running=3,
        waiting=2,
        kv_usage=0.25,
        prefix_queries_tokens=200,
        prefix_hits_tokens=50,
    )
    found = page(SGLANG, now)
    names = ("num_running_reqs", "num_queue_reqs", "token_usage", "cache_hit_rate", "kv_used_tokens")
    assert [value(found, f"sglang:{name}") for name in names] == [3, 2, 0.25, 0.25, 4000]
    sizes = ("page_size", "num_pages", "max_total_num_tokens", "context_len")
    assert [value(found, f"sglang:{name}") for name in sizes] == [16, 1000, 16000, 8192]


def test_tokens_are_counted_when_a_request_ends() -> None:
    """As in SGLang, whose running counts are `realtime_tokens_total`."""
    histograms = distributions(SGLANG)
    one_request(histograms)
    now = msgspec.structs.replace(
        Engine(CONFIG).statistics(), running=2, prompt_tokens=100, prompt_tokens_cached=40
    )
    found = page(SGLANG, now, histograms)
    assert value(found, "sglang:prompt_tokens_total") == 7
    assert value(found, "sglang:generation_tokens_total") == 11
    assert value(found, "sglang:num_requests_total") == 1
    assert value(found, "sglang:realtime_tokens_total", mode="prefill_compute") == 60
    assert value(found, "sglang:gen_throughput") == pytest.approx(2 / 0.1)
