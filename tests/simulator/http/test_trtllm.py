"""What `trtllm-serve` has beside the OpenAI routes."""

from __future__ import annotations

from igw.simulator.manifest import SimulatorSpec
from tests.simulator.site import start


async def test_metrics_are_json_and_prometheus_has_its_own_path() -> None:
    """A list of iterations, empty until there was one."""
    async with start(SimulatorSpec(model="demo", speed=100, dialect="trtllm-serve")) as site:
        assert await site.get("/metrics") == (200, [])
        await site.post("/v1/completions", {"prompt": "Hello", "max_tokens": 3})
        _, [iteration] = await site.get("/metrics")
        assert (iteration["iter"], iteration["numQueuedRequests"]) == (3, 0)
        assert iteration["kvCacheStats"]["tokensPerBlock"] == 16
        async with site.http.get("/prometheus/metrics") as response:
            page = await response.text()
        assert 'trtllm_num_requests_completed_total{engine_type="trtllm",model_name="demo"} 1.0' in page
