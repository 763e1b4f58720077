"""Which engine an endpoint's pages are of, and running requests from counters."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.scraping.mapping import Engine, named
from igw.scraping.reader import CAPACITY_LABEL, LABEL_KEYS, Engines, Reader
from tests.scraping.pages import recorded, simulated

VLLM, SGLANG = recorded("vllm-0.32.0-metrics-busy"), recorded("sglang-0.5.23-metrics")
NEW, OLD = LABEL_KEYS


@pytest.mark.parametrize(
    ("labels", "default", "page", "engine", "by"),
    [
        pytest.param({}, None, VLLM, "vllm", "page", id="recognised"),
        pytest.param({}, None, SGLANG, "sglang", "page", id="recognised, another"),
        pytest.param({NEW: "vllm"}, None, VLLM, "vllm", "label", id="by label"),
        pytest.param({OLD: "vllm"}, "sglang", VLLM, "vllm", "label", id="by the older label"),
        pytest.param({NEW: "vllm", OLD: "sglang"}, None, VLLM, "vllm", "label", id="the newer label counts"),
        pytest.param(
            {NEW: "llm-d-inference-sim"}, None, VLLM, "llm-d-inference-sim", "label", id="same names"
        ),
        pytest.param({}, "sglang", SGLANG, "sglang", "configuration", id="by configuration"),
        pytest.param({NEW: "vllm"}, None, SGLANG, "sglang", "page", id="a wrong label"),
        pytest.param({}, "vllm", SGLANG, "sglang", "page", id="a wrong configuration"),
        pytest.param({NEW: "vlm"}, None, SGLANG, "sglang", "page", id="a label that names no engine"),
    ],
)
def test_label_configuration_and_page_say_which_engine_it_is(
    labels: Mapping[str, str], default: str | None, page: bytes, engine: str, by: str
) -> None:
    """In this order; what is said must fit the page."""
    reader = Reader(Engines(default=default), labels)
    assert not reader.read(page, 0.0).says_nothing
    assert reader.engine is not None
    assert (reader.engine.name, reader.chosen_by) == (engine, by)
    assert reader.unknown == ("vlm" if labels.get(NEW) == "vlm" else "")


def test_another_engine_at_the_same_address_is_noticed() -> None:
    """A port is used again."""
    reader = Reader(Engines(), {})
    reader.read(VLLM, 0.0)
    assert reader.read(SGLANG, 1.0).running == 1
    assert reader.read(VLLM, 2.0).waiting == 9


@pytest.mark.parametrize(
    "page", [b"", b"<html>not metrics</html>", b"vllm:num_requests_waiting NaN\n", b"up 1\n"]
)
def test_a_page_without_a_word_of_load_is_an_error(page: bytes) -> None:
    """It must not look like an idle engine; the message has the names that were looked for."""
    with pytest.raises(ValueError, match="has no vllm:num_requests_waiting, vllm:num_requests_running"):
        Reader(Engines(), {}).read(page, 0.0)


def test_a_configured_engine_that_looks_like_none_is_the_fallback_only_by_its_name() -> None:
    """A configuration may give `vllm` other names; pages that look like no engine are read by them."""
    own = Engine("vllm", waiting=(named("queue"),))
    reader = Reader(Engines({**Engines().by_name, "vllm": own}), {})
    assert reader.read(b"queue 3\n", 0.0).waiting == 3
    assert reader.chosen_by == "default"


def triton(running_us: int, queue_us: int = 0) -> bytes:
    """Return a page of Triton without a backend that tells more."""
    return (
        f'nv_inference_pending_request_count{{model="m"}} 2\nnv_inference_request_duration_us{{model="m"}} {running_us}\n'
        f'nv_inference_queue_duration_us{{model="m"}} {queue_us}\n'
    ).encode()


def test_seconds_of_computing_become_how_many_run() -> None:
    """Three requests of a second each in every second are three at a time, the queue left out; one page tells nothing."""
    reader = Reader(Engines(), {})
    assert reader.read(triton(0), 0.0).running is None
    for second in range(1, 5):
        report = reader.read(triton(second * 4_000_000, second * 1_000_000), float(second))
        assert report.running == pytest.approx(3.0)
    assert report.waiting == 2


def test_a_rate_is_smooth_and_ends() -> None:
    """A long request is counted as a whole when it ends: it neither jumps nor is forgotten at once."""
    reader = Reader(Engines(), {})
    rates = [reader.read(triton(30_000_000 if now > 30 else 0), float(now)).running for now in range(60)]
    assert rates[30] == 0
    assert rates[31] == pytest.approx(30 * 0.0952, rel=0.01)
    assert 0 < (rates[59] or 0) < 0.3


def test_a_counter_that_goes_back_starts_anew() -> None:
    """The engine was restarted: there is no rate until the next page."""
    reader = Reader(Engines(), {})
    reader.read(triton(5_000_000), 0.0)
    assert reader.read(triton(0), 1.0).running is None
    assert reader.read(triton(1_000_000), 2.0).running == pytest.approx(1.0)


def test_a_page_at_the_same_instant_changes_no_rate() -> None:
    """Clocks may be coarse."""
    reader = Reader(Engines(), {})
    reader.read(triton(0), 0.0)
    reader.read(triton(1_000_000), 1.0)
    assert reader.read(triton(2_000_000), 1.0).running == pytest.approx(1.0)
    assert reader.read(triton(2_000_000), 2.0).running == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e9)), max_size=20))
def test_a_rate_is_never_negative(steps: list[tuple[float, float]]) -> None:
    """Law: whatever counter and clock do."""
    reader, now = Reader(Engines(), {}), 0.0
    for seconds, busy in steps:
        now += seconds
        running = reader.read(triton(int(busy)), now).running
        assert running is None or running >= 0


def test_the_simulators_triton_tells_its_batch_itself() -> None:
    """The TensorRT-LLM backend has gauges, which count before any rate."""
    assert Reader(Engines(), {}).read(simulated("triton-tensorrt-llm", running=5), 0.0).running == 5


def test_a_label_tells_the_memory_that_an_engine_does_not() -> None:
    """What the engine says itself counts before; what is no number says nothing."""
    page = b"llamacpp:requests_deferred 1\n"
    assert Reader(Engines(), {CAPACITY_LABEL: "50000"}).read(page, 0.0).kv_capacity_tokens == 50_000
    assert Reader(Engines(), {CAPACITY_LABEL: "much"}).read(page, 0.0).kv_capacity_tokens is None
    told = Reader(Engines(), {}).read(recorded("vllm-0.32.0-metrics"), 0.0).kv_capacity_tokens
    assert told is not None
    assert (
        Reader(Engines(), {CAPACITY_LABEL: "5"}).read(recorded("vllm-0.32.0-metrics"), 0.0).kv_capacity_tokens
        == told
    )
