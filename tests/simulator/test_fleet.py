"""Several servers in one process."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from igw.errors import ConfigError
from igw.prefix.events import PORT_LABEL, REPLAY_LABEL
from igw.simulator.fleet import running
from igw.simulator.kv_events.config import KvEventsConfig
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


async def test_servers_that_publish_say_so_by_label() -> None:
    """With the ports that they got; not where they connect, nor for several ranks, whose events nobody can tell apart."""
    ports = {"endpoint": "tcp://127.0.0.1:*", "replay_endpoint": "tcp://127.0.0.1:*"}
    told = KvEventsConfig(enable_kv_cache_events=True, **ports)
    alone = KvEventsConfig(enable_kv_cache_events=True, endpoint="tcp://127.0.0.1:*")
    connects = KvEventsConfig(enable_kv_cache_events=True, endpoint="tcp://127.0.0.1:9")
    simulators = [
        simulator("a", replicas=2, kv_events_config=told, labels={"app": "x"}),
        simulator("b", kv_events_config=alone),
        simulator("c", kv_events_config=connects),
        simulator("d", kv_events_config=told, data_parallel_size=2),
        simulator("e", kv_events_config=KvEventsConfig()),
    ]
    async with running(simulators) as endpoints:
        one, other, no_replay, *others = [each.labels for each in endpoints]
    assert one.keys() == other.keys() == {"app", PORT_LABEL, REPLAY_LABEL}
    assert len({one[PORT_LABEL], one[REPLAY_LABEL], other[PORT_LABEL], other[REPLAY_LABEL]}) == 4
    assert no_replay.keys() == {PORT_LABEL}
    assert others == [{}, {}, {}]


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
