"""Every engine: recorded pages, pages of our simulator, and being recognised."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from igw.facts import Adapters
from igw.scraping.engines.builtin import ENGINES, recognised
from igw.scraping.mapping import read
from igw.scraping.report import Report
from igw.simulator.metrics.dialects import DialectName
from tests.scraping.pages import RECORDED, recorded, simulated

_LORA = frozenset({"lora-a", "lora-b"})
GOLDEN = {
    "vllm-0.32.0-metrics": ("vllm", Report(0, 0, 0, 16384, 6088, Adapters(most=2, model="tiny-llama"), 32)),
    "vllm-0.32.0-metrics-busy": (
        "vllm",
        Report(9, 16, 0.49706457925636005, 16384, 4252, Adapters(_LORA, _LORA, 2, "tiny-llama"), 32),
    ),
    "sglang-0.5.23-metrics": ("sglang", Report(0, 1, 0.02, 16384, 971, None, 16)),
    "triton-2.51.0-metrics": (
        "triton-tensorrt-llm",
        Report(
            3, None, None, lifetime=0,
            missing=(
                "nv_trt_llm_request_metrics{request_type=scheduled}",
                "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}",
                "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}",
            ),
        ),
    ),
    "llama-server-metrics": ("llama.cpp", Report(0, 0, None, lifetime=9)),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_page_is_recognised_and_read(name: str) -> None:
    """Every page of a real engine that there is, to the last number."""
    engine, report = GOLDEN[name]
    page = recorded(name)
    found = recognised(page, ENGINES.values())
    assert found is ENGINES[engine]
    assert read(page, found) == report


@pytest.mark.parametrize("dialect", get_args(DialectName))
def test_every_dialect_of_the_simulator_is_recognised_and_nothing_is_missing(dialect: DialectName) -> None:
    """What it shows is what real engines show."""
    page = simulated(
        dialect, waiting=4, running=7, kv_usage=0.25, prefix_queries_tokens=640, prompt_tokens=640
    )
    engine = recognised(page, ENGINES.values())
    assert engine is not None
    assert engine.name == dialect.removesuffix("-v0")
    report = read(page, engine)
    assert (report.waiting, report.running, report.missing) == (4, 7, ())
    assert report.lifetime is not None
    if dialect == "tgi":
        assert (report.kv_usage, report.kv_capacity_tokens, report.block_size_tokens) == (None, None, None)
    else:
        assert (report.kv_usage, report.kv_capacity_tokens, report.block_size_tokens) == (0.25, 32_000, 32)


def test_data_parallel_ranks_of_vllm_add_up() -> None:
    """One page, one series per engine: queues, batches, sizes and counters are summed, usage is averaged."""
    one = read(
        simulated("vllm", waiting=4, running=7, kv_usage=0.25, prefix_queries_tokens=9), ENGINES["vllm"]
    )
    both = read(
        simulated("vllm", 2, waiting=4, running=7, kv_usage=0.25, prefix_queries_tokens=9), ENGINES["vllm"]
    )
    assert (both.waiting, both.running, both.kv_usage) == (8, 14, 0.25)
    assert both.kv_capacity_tokens == 2 * (one.kv_capacity_tokens or 0)
    assert (both.lifetime, both.block_size_tokens) == (18, 32)


def with_label(page: bytes, before: bytes, after: bytes) -> bytes:
    """Return *page* with every series again, its label *before* written as *after*."""
    lines = page.splitlines(keepends=True)
    return b"".join([line + line.replace(before, after) if line[:1] != b"#" else line for line in lines])


def test_ranks_of_tensor_parallelism_show_one_engine_and_count_once() -> None:
    """SGLang shows the same queue from each; ranks of data parallelism are engines of their own."""
    page = recorded("sglang-0.5.23-metrics")
    one = read(page, ENGINES["sglang"])
    assert read(with_label(page, b'tp_rank="0"', b'tp_rank="1"'), ENGINES["sglang"]) == one
    two = read(with_label(page, b'tp_rank="0"', b'tp_rank="0",dp_rank="1"'), ENGINES["sglang"])
    assert (two.running, two.kv_capacity_tokens, two.kv_usage) == (2, 2 * 16384, 0.02)


PAGES: list[tuple[str, bytes, dict[str, Any]]] = [
    (
        "vllm",
        b"vllm:num_requests_waiting 1\nvllm:num_requests_running 2\nvllm:gpu_cache_usage_perc 0.5\n"
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="10"} 1\nvllm:gpu_prefix_cache_queries_total 5\n',
        {"kv_usage": 0.5, "kv_capacity_tokens": 160, "lifetime": 5, "block_size_tokens": 16},
    ),
    (
        "sglang",
        b"sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\nsglang:token_usage 0.5\n"
        b'sglang:cache_config_info{page_size="16",num_pages="10"} 1\n',
        {"kv_usage": 0.5, "kv_capacity_tokens": 160, "block_size_tokens": 16},
    ),
    (
        "jetstream",
        b'jetstream_prefill_backlog_size{id="a"} 1\njetstream_slots_used_percentage{id="a",idx="0"} 0.25\n'
        b'jetstream_slots_used_percentage{id="a",idx="1"} 0.75\njetstream_time_per_request_sum{id="a"} 30\n'
        b'jetstream_wait_time_per_request_sum{id="a"} 10\njetstream_request_success_count_total{id="a"} 3\n',
        {"running": None, "kv_usage": 0.5, "busy_seconds": 20, "lifetime": 3},
    ),
    (
        "triton",
        b'nv_inference_pending_request_count{model="a"} 1\nnv_inference_request_duration_us{model="a"} 5000000\n'
        b'nv_inference_queue_duration_us{model="a"} 2000000\nnv_inference_exec_count{model="a"} 999\n',
        {"running": None, "kv_usage": None, "busy_seconds": 3},
    ),
]


@pytest.mark.parametrize(("name", "page", "values"), PAGES, ids=[name for name, _, _ in PAGES])
def test_older_names_and_engines_that_were_not_recorded(
    name: str, page: bytes, values: dict[str, Any]
) -> None:
    """Names of other versions are tried; a counter is never taken for a gauge."""
    engine = recognised(page, ENGINES.values())
    assert engine is ENGINES[name]
    report = read(page, engine)
    expected = {"waiting": 1, "running": 2, "missing": ()} | values
    assert {field: getattr(report, field) for field in expected} == expected


def test_the_newer_name_counts_where_a_page_has_both() -> None:
    """V1 showed both for a while."""
    page = b"vllm:gpu_cache_usage_perc 0.9\nvllm:kv_cache_usage_perc 0.1\n"
    assert read(page, ENGINES["vllm"]).kv_usage == 0.1


def test_a_page_of_something_else_is_no_engine_s() -> None:
    """A name in the middle of a line does not count."""
    for page in (b"", b"<html>vllm: hello</html>", b'other{of="x vllm:y"} 1\n', b"# HELP x about vllm:y\n"):
        assert recognised(page, ENGINES.values()) is None
