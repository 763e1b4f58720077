"""vLLM's page: a recorded one, engines side by side, and pages that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest

from igw.facts import Adapters
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
        adapters=Adapters(frozenset({"lora-a", "lora-b"}), frozenset({"lora-a", "lora-b"}), 2, "tiny-llama"),
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


def with_adapters(*combinations: tuple[str, str, float], most: str = "4") -> bytes:
    """Return a page with a series per combination of running and waiting adapters, last so at its value."""
    lines = [
        f'vllm:lora_requests_info{{max_lora="{most}",running_lora_adapters="{running}",'
        f'waiting_lora_adapters="{waiting}"}} {when!r}\n'
        for running, waiting, when in combinations
    ]
    text = 'vllm:num_requests_running{engine="0",model_name="llama"} 1\nvllm:num_requests_waiting 0\n'
    return (text + "".join(lines)).encode()


@pytest.mark.parametrize(
    ("combinations", "running", "waiting"),
    [
        ([("", "", 1.0)], set(), set()),
        ([("", "", 1.0), ("a", "", 2.0), ("a,b", "c", 3.0)], {"a", "b"}, {"c"}),
        ([("a,b", "c", 1.7953133509e9), ("", "a", 1.7953133510e9), ("b", "", 1.7953133508e9)], set(), {"a"}),
        ([(" a, b ,", ",", 1.0)], {"a", "b"}, set()),
    ],
)
def test_the_newest_combination_of_adapters_counts(
    combinations: list[tuple[str, str, float]], running: set[str], waiting: set[str]
) -> None:
    """There is a series for every one there ever was, in any order; its value is the time when it was last so."""
    assert read(with_adapters(*combinations)).adapters == Adapters(
        frozenset(running), frozenset(waiting), 4, "llama"
    )


@pytest.mark.parametrize("most", ["", "many", "-1"])
def test_a_number_of_adapters_that_is_not_told_is_none(most: str) -> None:
    """An engine of which it is not known how many adapters it takes is not said to have room."""
    adapters = read(with_adapters(("a", "", 1.0), most=most)).adapters
    assert adapters == Adapters(frozenset({"a"}), frozenset(), 0, "llama")


def test_an_engine_without_adapters_says_nothing_of_them() -> None:
    """The family is not on the page."""
    assert read(page(num_requests_waiting=2, num_requests_running=1)).adapters is None
