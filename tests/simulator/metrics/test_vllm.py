"""The page of vLLM's dialect against one recorded from vLLM 0.32."""

from __future__ import annotations

import pytest

from igw.simulator.engine.config import EngineConfig, Statistics
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Sequence
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.metrics.families import Rank
from igw.simulator.metrics.page import Page
from igw.simulator.metrics.vllm import NOT_SHOWN, VLLM
from tests.simulator.metrics.pages import (
    CONFIG,
    MODEL,
    WALL_SECONDS,
    distributions,
    families,
    one_request,
    page,
    recorded,
    shape,
    value,
)

RECORDED = {name: each for name, each in recorded("vllm-0.32.0-metrics.txt").items() if name[:5] == "vllm:"}
VARYING = {"vllm:lora_requests_info", "vllm:cache_config_info"}
"""Families whose labels tell of adapters and sizes."""


def test_every_family_of_vllm_is_there_and_none_else() -> None:
    """The recorded page was cut by what `NOT_SHOWN` lists, which names no family of vLLM's own."""
    assert set(page(VLLM)) == set(RECORDED)
    assert not any(part in name for name in RECORDED for part in NOT_SHOWN)


@pytest.mark.parametrize("name", RECORDED)
def test_a_family_has_vllms_type_and_help_and_series(name: str) -> None:
    """The same labels in the same order, buckets and all, for a model of the recorded name and length."""
    ours, theirs = page(VLLM)[name], RECORDED[name]
    assert (ours.type, ours.documentation) == (theirs.type, theirs.documentation)
    if name in VARYING:
        assert {frozenset(s.labels) for s in ours.samples} == {frozenset(s.labels) for s in theirs.samples}
    else:
        assert shape(ours) == shape(theirs)


def test_the_page_tells_what_the_engine_does() -> None:
    """One running, one waiting, and the tokens so far."""
    engine = Engine(EngineConfig(StepTime.load(), 1000, max_num_seqs=1))
    for name in "ab":
        engine.submit(Sequence(name, 100, 10), 0.0)
    step = engine.begin_step(0.0)
    assert step is not None
    engine.finish_step(step)
    found = page(VLLM, engine.statistics())
    assert value(found, "vllm:num_requests_running") == 1
    assert value(found, "vllm:num_requests_waiting") == 1
    assert value(found, "vllm:num_requests_waiting_by_reason", reason="capacity") == 1
    assert value(found, "vllm:prompt_tokens_total") == 100
    assert value(found, "vllm:prompt_tokens_by_source_total", source="local_compute") == 100
    assert value(found, "vllm:generation_tokens_total") == 1
    assert value(found, "vllm:kv_cache_usage_perc") == pytest.approx(7 / 1000)
    assert value(found, "vllm:engine_sleep_state", sleep_state="awake") == 1


def test_sources_of_cached_tokens_add_up() -> None:
    """Ninety tokens from this server's memory, ten from elsewhere, of 160."""
    statistics = _statistics(
        prompt_tokens=160,
        prompt_tokens_cached=100,
        prefix_hits_tokens=90,
        external_queries_tokens=70,
        external_hits_tokens=10,
    )
    found = page(VLLM, statistics)
    sources = ("local_compute", "local_cache_hit", "external_kv_transfer")
    by_source = [value(found, "vllm:prompt_tokens_by_source_total", source=each) for each in sources]
    assert by_source == [60, 90, 10]
    tiers = [value(found, "vllm:prompt_tokens_cached_by_source_total", source=each) for each in TIERS]
    assert tiers == [90, 0, 0, 0, 10]
    assert value(found, "vllm:external_prefix_cache_hits_total") == 10


TIERS = ("device", "host", "p2p", "disk", "external_unspecified")


def test_a_sleeping_engine_tells_its_level() -> None:
    """Level 2 discards the weights too."""
    rank = Rank(CONFIG, distributions(VLLM))
    for level, state in ((1, "weights_offloaded"), (2, "discard_all")):
        text = Page(VLLM, MODEL, [rank]).render([_statistics(asleep=True)], WALL_SECONDS, level).decode()
        states = {s.labels["sleep_state"]: s.value for s in families(text)["vllm:engine_sleep_state"].samples}
        assert [name for name, on in states.items() if on] == [state]


def test_a_finished_request_is_in_its_distributions() -> None:
    """Two seconds in all, the first token after one, eleven tokens; the step counts what it computed and sampled."""
    histograms = distributions(VLLM)
    one_request(histograms)
    found = page(VLLM, histograms=histograms)
    sums = {
        "e2e_request_latency_seconds": 2.0,
        "request_time_per_output_token_seconds": pytest.approx(0.1),
        "request_prompt_tokens": 7,
        "request_generation_tokens": 11,
        "request_queue_time_seconds": 0.25,
        "request_prefill_kv_computed_tokens": 3,
        "request_params_n": 1,
        "request_params_max_tokens": 11,
        "iteration_tokens_total": 8,
    }
    assert {name: value(found, f"vllm:{name}_sum") for name in sums} == sums


def test_cache_config_has_the_sizes_schedulers_read() -> None:
    """As labels, like vLLM's, for every engine."""
    ranks = [Rank(CONFIG, distributions(VLLM), number) for number in (0, 1)]
    text = Page(VLLM, MODEL, ranks).render([_statistics(), _statistics()], WALL_SECONDS).decode()
    samples = families(text)["vllm:cache_config_info"].samples
    assert [(s.labels["engine"], s.labels["block_size"], s.labels["num_gpu_blocks"]) for s in samples] == [
        ("0", "16", "1000"),
        ("1", "16", "1000"),
    ]
    assert samples[0].labels["kv_cache_size_tokens"] == "16000"


def _statistics(**changes: object) -> Statistics:
    now = Engine(CONFIG).statistics()
    return type(now)(**{name: getattr(now, name) for name in now.__struct_fields__} | changes)
