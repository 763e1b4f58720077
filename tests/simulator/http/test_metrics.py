"""The metrics page over loopback: after real requests, of several engines, with what counts HTTP."""

from __future__ import annotations

import pytest

from igw.simulator.manifest import SimulatorSpec
from tests.simulator.metrics.pages import families, value
from tests.simulator.site import Site, start


async def text(site: Site) -> str:
    """Return the page."""
    async with site.http.get("/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return await response.text()


async def test_parameters_are_counted_once_per_prompt(site: Site) -> None:
    """Two prompts with three choices each, and one without a limit of its own."""
    await site.post("/v1/completions", {"prompt": ["a", "b"], "n": 3, "max_tokens": 4})
    await site.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
    found = families(await text(site))
    assert value(found, "vllm:request_params_n_count") == 3
    assert value(found, "vllm:request_params_n_sum") == 7
    assert value(found, "vllm:request_params_max_tokens_bucket", le="5.0") == 2
    assert value(found, "vllm:request_params_max_tokens_bucket", le="50000.0") == 2
    assert value(found, "vllm:request_max_num_generation_tokens_bucket", le="5.0") == 2
    assert value(found, "vllm:request_success_total", finished_reason="length") == 6


async def test_every_token_of_an_answer_has_its_latency(site: Site) -> None:
    """Streamed or not; the first one's counts from the arrival."""
    for stream in (False, True):
        async with site.http.post(
            "/v1/completions", json={"prompt": "Hello", "max_tokens": 5, "stream": stream}
        ) as response:
            await response.read()
    found = families(await text(site))
    assert value(found, "vllm:time_to_first_token_seconds_count") == 2
    assert value(found, "vllm:inter_token_latency_seconds_count") == 8
    assert value(found, "vllm:request_queue_time_seconds_count") == 2
    # 20 ms pass before a request reaches its engine, divided by the speed of 100.
    assert value(found, "vllm:time_to_first_token_seconds_sum") > 2 * 0.0002
    phases = [value(found, f"vllm:request_{phase}_time_seconds_sum") for phase in ("prefill", "decode")]
    assert sum(phases) == pytest.approx(value(found, "vllm:request_inference_time_seconds_sum"))
    assert value(found, "vllm:iteration_tokens_total_sum") == 2 * 2 + 2 * 5


async def test_requests_are_counted_by_their_routes(site: Site) -> None:
    """A path that is none is told apart; probes are left out."""
    await site.post("/v1/completions", {"prompt": "Hello", "max_tokens": 1})
    await site.post("/v1/completions", {"prompt": "Hello", "max_tokens": 0})
    await site.post("/no/such/path", {})
    await site.get("/version")
    for method in ("PROPFIND", "LOCK"):
        async with site.http.request(method, "/no/such/path"):
            pass
    found = families(await text(site))
    counted = {
        (s.labels["handler"], s.labels["method"], s.labels["status"]): s.value
        for s in found["http_requests"].samples
        if s.name == "http_requests_total"
    }
    assert counted == {
        ("/v1/completions", "POST", "2xx"): 1,
        ("/v1/completions", "POST", "4xx"): 1,
        ("none", "POST", "4xx"): 1,
        ("none", "other", "4xx"): 2,
    }
    assert value(found, "http_request_duration_highr_seconds_count") == 5


async def test_a_sleeping_server_tells_its_level(site: Site) -> None:
    """And that it is awake again."""
    for path, state in (("/sleep?level=2", "discard_all"), ("/wake_up", "awake")):
        async with site.http.post(path):
            pass
        found = families(await text(site))
        assert value(found, "vllm:engine_sleep_state", sleep_state=state) == 1


async def test_adapters_that_run_are_on_the_page(site: Site) -> None:
    """While they do."""
    ask = {"model": "tuned", "prompt": "Hello", "max_tokens": 2000, "stream": True}
    async with site.http.post("/v1/completions", json=ask) as response:
        await response.content.readuntil(b"\n\n")
        found = families(await text(site))
    series = {s.labels["running_lora_adapters"] for s in found["vllm:lora_requests_info"].samples}
    assert "tuned" in series


async def test_ranks_have_series_of_their_own() -> None:
    """Requests that name a rank are counted there."""
    async with start(SimulatorSpec(model="demo", speed=100, data_parallel_size=2)) as site:
        for rank in ("1", "1", "0"):
            headers = {"X-data-parallel-rank": rank}
            await site.post("/v1/completions", {"prompt": "Hello", "max_tokens": 2}, headers=headers)
        found = families(await text(site))
    counted = [value(found, "vllm:generation_tokens_total", engine=engine) for engine in "01"]
    assert counted == [2, 4]
    assert [value(found, "vllm:request_generation_tokens_count", engine=engine) for engine in "01"] == [1, 2]


def test_a_dialect_without_labels_for_ranks_is_refused_with_several() -> None:
    """Unless each has a port of its own."""
    spec = SimulatorSpec(model="demo", dialect="tgi", data_parallel_size=2)
    with pytest.raises(ValueError, match="cannot tell data-parallel ranks apart"):
        spec.server()
    SimulatorSpec(model="demo", dialect="tgi", data_parallel_size=2, data_parallel_external_lb=True).server()
