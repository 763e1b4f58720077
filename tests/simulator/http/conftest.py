"""A fast server for the tests of its APIs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from igw.simulator.http.names import LoraModule
from igw.simulator.manifest import SimulatorSpec
from tests.simulator.site import Site, start


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A server a hundred times as fast as a real one, with an adapter."""
    spec = SimulatorSpec(model="demo", speed=100, lora_modules=[LoraModule("tuned", "adapters/tuned")])
    async with start(spec) as each:
        yield each
