"""Which routes a dialect adds."""

from __future__ import annotations

import pytest

from igw.simulator.manifest import SimulatorSpec
from igw.simulator.metrics.dialects import DialectName
from tests.simulator.site import start

OWN = {
    "sglang": "/get_model_info",
    "tgi": "/info",
    "triton-tensorrt-llm": "/v2",
    "trtllm-serve": "/prometheus/metrics",
}


@pytest.mark.parametrize("dialect", ["vllm", "vllm-v0", *OWN])
async def test_a_server_has_the_routes_of_its_dialect_and_no_others(dialect: DialectName) -> None:
    """And OpenAI's in any."""
    async with start(SimulatorSpec(model="demo", speed=100, dialect=dialect)) as site:
        for other, path in OWN.items():
            async with site.http.get(path) as response:
                assert (response.status == 200) == (other == dialect), path
        status, _ = await site.post("/v1/completions", {"prompt": "Hello", "max_tokens": 1})
        assert status == 200
