"""vLLM's page: a recorded one, engines side by side, and pages that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.scraping.vllm import Report, read

BUSY = Path(__file__).parent / "data" / "vllm-0.32.0-metrics-busy.txt"


def test_a_recorded_page_is_read() -> None:
    """VLLM 0.32.0 under load, with metrics beside ours whose names begin the same way."""
    assert read(BUSY.read_bytes()) == Report(
        waiting=9.0,
        running=16.0,
        kv_usage=0.49706457925636005,
        kv_capacity_tokens=512 * 32,
        prefix_queries=4252.0,
    )


def test_data_parallel_engines_on_one_port_add_up() -> None:
    """Queues, batches, capacities and counters are summed, usage is averaged."""
    lines = BUSY.read_bytes().splitlines(keepends=True)
    page = b"".join(
        line + line.replace(b'engine="0"', b'engine="1"') for line in lines if not line.startswith(b"#")
    )
    one, both = read(BUSY.read_bytes()), read(page)
    assert (both.waiting, both.running) == (2 * one.waiting, 2 * one.running)
    assert both.kv_usage == pytest.approx(one.kv_usage)
    assert both.kv_capacity_tokens == 2 * 512 * 32
    assert both.prefix_queries == 2 * 4252


def page(**values: object) -> bytes:
    """Return a page with the given metrics, unlabelled."""
    return "".join(f"vllm:{name} {value}\n" for name, value in values.items()).encode()


def test_a_page_with_the_queue_only_is_enough() -> None:
    """An engine without prefix caching counts no queries and an old one tells no size."""
    assert read(page(num_requests_waiting=2, num_requests_running=1)) == Report(2, 1, 0)


@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        (b"", "num_requests_waiting"),
        (b"<html>not metrics</html>", "num_requests_waiting"),
        (page(num_requests_waiting=1), "num_requests_running"),
        (page(num_requests_running=1, num_requests_waiting="NaN"), "num_requests_waiting"),
        (page(num_requests_running="+Inf", num_requests_waiting=1), "num_requests_running"),
        (page(num_requests_running=1, num_requests_waiting_by_reason=1), "num_requests_waiting"),
    ],
)
def test_a_page_of_something_else_is_an_error(broken: bytes, missing: str) -> None:
    """It must not look like an idle engine."""
    with pytest.raises(ValueError, match=f"no vllm:{missing}"):
        read(broken)


@pytest.mark.parametrize(
    "labels", ['block_size="16"', 'block_size="16",num_gpu_blocks="None"', 'num_gpu_blocks="5"']
)
def test_a_size_that_is_not_told_is_not_known(labels: str) -> None:
    """While vLLM starts it does not know its number of blocks itself."""
    text = (
        page(num_requests_waiting=0, num_requests_running=0)
        + f"vllm:cache_config_info{{{labels}}} 1\n".encode()
    )
    assert read(text).kv_capacity_tokens is None
