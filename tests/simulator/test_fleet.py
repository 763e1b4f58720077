"""Several servers in one process."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from igw.errors import ConfigError
from igw.simulator.fleet import running
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec


def simulator(name: str = "sim", **spec: object) -> Simulator:
    """A simulator with these fields."""
    return Simulator(metadata=Metadata(name=name), spec=SimulatorSpec(model=name, **spec))  # type: ignore[arg-type]


async def test_every_replica_listens_on_a_port_of_its_own() -> None:
    """Names are numbered, labels are on all of them."""
    simulators = [simulator("a", replicas=2, labels={"app": "x"}), simulator("b")]
    async with running(simulators) as endpoints, aiohttp.ClientSession() as client:
        assert [each.name for each in endpoints] == ["a-0", "a-1", "b-0"]
        assert [each.labels for each in endpoints] == [{"app": "x"}, {"app": "x"}, {}]
        assert len({each.port for each in endpoints}) == 3
        for each in endpoints:
            async with client.get(f"http://{each.address}:{each.port}/v1/models") as response:
                assert (await response.json())["data"][0]["id"] == each.name[0]


async def test_a_taken_port_is_one_sentence_and_frees_what_was_started() -> None:
    """The second replica finds its port in use."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            async with running([simulator(), simulator("late", first_port=port)]):
                pytest.fail("nothing can listen on a taken port")
    assert str(caught.value) == (
        f"Simulator default/late: spec.firstPort: 127.0.0.1:{port} is already in use "
        "(set firstPort (--port) to another port, or to 0 for free ports)"
    )


async def test_unknown_hardware_is_a_configuration_error() -> None:
    """Also for objects that did not come from a file."""
    from igw.simulator.manifest import Hardware

    with pytest.raises(ConfigError, match=r"Simulator default/sim: spec: no calibration for 'x'"):
        async with running([simulator(hardware=Hardware("x"))]):
            pytest.fail("there is no such hardware")
