"""Data-parallel ranks: several engines behind one port, or a port each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from igw.simulator.driver import Driver, Inbox
from igw.simulator.engine.config import EngineConfig
from igw.simulator.engine.engine import Engine
from igw.simulator.engine.sequence import Sequence
from igw.simulator.fleet import running
from igw.simulator.hardware.calibration import StepTime
from igw.simulator.kv_events.config import KvEventsConfig
from igw.simulator.manifest import Metadata, Simulator, SimulatorSpec
from igw.simulator.metrics.histograms import Histograms
from igw.simulator.ranks import EngineRank, Ranks
from igw.simulator.server import ModelServer

_HEADER = "X-data-parallel-rank"


def _ranks(count: int, first: int = 0) -> Ranks:
    config = EngineConfig(
        step_time=StepTime.load(), num_gpu_blocks=64, max_num_seqs=2, max_num_batched_tokens=64
    )
    ranks = []
    for number in range(first, first + count):
        engine, histograms = Engine(config), Histograms(config.max_model_len, {})
        driver = Driver(engine, histograms, speed=1.0, clock=lambda: 0.0)
        ranks.append(EngineRank(number, engine, histograms, driver))
    return Ranks(ranks)


def _submit(ranks: Ranks, *ids: str) -> None:
    for each in ids:
        ranks.submit(Sequence(each, 4, 4), Inbox(every_token=False), 0.0)


def _waiting(ranks: Ranks) -> list[int]:
    return [rank.engine.statistics().waiting for rank in ranks]


async def test_sequences_go_to_the_rank_with_the_least_load() -> None:
    """The lowest rank among equals, as in vLLM."""
    ranks = _ranks(3)
    _submit(ranks, "a", "b", "c", "d")
    assert _waiting(ranks) == [2, 1, 1]


async def test_a_waiting_sequence_counts_as_four_running_ones() -> None:
    """A rank that runs two is preferred to one where a single sequence waits."""
    ranks = _ranks(2)
    ranks[0].driver.submit(Sequence("x", 4, 4), Inbox(every_token=False), 0.0)
    ranks[0].driver.submit(Sequence("y", 4, 4), Inbox(every_token=False), 0.0)
    ranks[0].engine.begin_step(0.0)
    ranks[1].driver.submit(Sequence("z", 4, 4), Inbox(every_token=False), 0.0)
    assert [rank.load for rank in ranks] == [2, 4]
    _submit(ranks, "a")
    assert _waiting(ranks) == [1, 1]


async def test_a_sequence_is_aborted_where_it_runs() -> None:
    """And nowhere else; what is not there is no error."""
    ranks = _ranks(2)
    _submit(ranks, "a", "b")
    ranks.abort("b")
    ranks.abort("b")
    assert _waiting(ranks) == [1, 0]


def test_the_header_chooses_a_rank() -> None:
    """A number that is none of them is refused; anything else is ignored."""
    ranks = _ranks(2)
    assert ranks.chosen("1") is ranks[1].driver
    assert ranks.chosen(None) is ranks
    assert ranks.chosen("first") is ranks
    with pytest.raises(ValueError, match=r"data_parallel_rank 2 is out of range \[0, 2\)"):
        ranks.chosen("2")


def test_a_single_engine_is_driven_directly() -> None:
    """There is nothing to choose."""
    ranks = _ranks(1, first=3)
    assert ranks.chosen(None) is ranks.chosen("3") is ranks[0].driver


class _Site:
    def __init__(self, server: ModelServer, url: str, http: aiohttp.ClientSession) -> None:
        self.server = server
        self._url = url
        self._http = http

    async def complete(self, rank: str | None = None, **more: Any) -> tuple[int, Any]:
        headers = {} if rank is None else {_HEADER: rank}
        body = {"prompt": "word " * 40, "max_tokens": 2} | more
        async with self._http.post(f"{self._url}/v1/completions", json=body, headers=headers) as response:
            return response.status, await response.json()

    async def page(self) -> str:
        async with self._http.get(f"{self._url}/metrics") as response:
            return await response.text()


@asynccontextmanager
async def _site(**spec: Any) -> AsyncIterator[_Site]:
    server = ModelServer(SimulatorSpec(model="demo", speed=50.0, **spec).server())
    async with server.serving("127.0.0.1", 0) as port, aiohttp.ClientSession() as http:
        yield _Site(server, f"http://127.0.0.1:{port}", http)


async def test_ranks_behind_one_port_share_the_requests() -> None:
    """Each has a cache and counters of its own, and the page has an engine label for each."""
    async with _site(data_parallel_size=2) as site:
        results = await asyncio.gather(*(site.complete(rank) for rank in (None, "0", "1", "1", None, "1")))
        assert [status for status, _ in results] == [200] * 6
        tokens = [rank.engine.statistics().generation_tokens for rank in site.server.state.ranks]
        assert sum(tokens) == 12
        assert min(tokens) >= 2
        page = await site.page()
    for engine, count in enumerate(tokens):
        assert f'vllm:generation_tokens_total{{engine="{engine}",model_name="demo"}} {count}.0' in page


async def test_a_prompt_is_found_only_at_the_rank_that_has_it() -> None:
    """Which is why a router may want to choose."""
    async with _site(data_parallel_size=2) as site:
        await site.complete("1")
        hits = [await site.complete(rank) for rank in ("0", "1")]
        status, error = await site.complete("2")
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for _, answer in hits]
    assert cached[0] == 0
    assert cached[1] > 0
    assert (status, error["error"]["message"]) == (400, "data_parallel_rank 2 is out of range [0, 2).")


async def test_the_choices_of_one_request_are_spread() -> None:
    """Every one is a request of its own to vLLM's balancer."""
    async with _site(data_parallel_size=2) as site:
        status, _ = await site.complete(n=4)
        assert status == 200
        # They are handed in together, so nothing has ended in between.
        assert [rank.engine.statistics().finished_length for rank in site.server.state.ranks] == [2, 2]


async def test_operators_reach_all_ranks() -> None:
    """Sleep and reset are for the whole server."""
    async with _site(data_parallel_size=2) as site:
        state = site.server.state
        for rank in ("0", "1"):
            await site.complete(rank)
        assert state.ranks.reset_prefix_cache()
        assert [rank.engine.blocks.cached for rank in state.ranks] == [0, 0]
        state.ranks.sleep()
        assert [rank.engine.statistics().asleep for rank in state.ranks] == [True, True]
        state.ranks.wake()
        assert (await site.complete("1"))[0] == 200


async def test_every_rank_publishes_its_own_kv_events() -> None:
    """On the next port, with its number in each batch."""
    config = KvEventsConfig(
        enable_kv_cache_events=True, endpoint="inproc://ranks-test", replay_endpoint="tcp://127.0.0.1:*"
    )
    async with _site(data_parallel_size=2, kv_events_config=config) as site:
        events = site.server.state.kv_events
        assert events is not None
        assert [each.endpoint for each in events.publishers] == [
            "inproc://ranks-test",
            "inproc://ranks-test_dp1",
        ]


def _simulator(**spec: Any) -> Simulator:
    return Simulator(metadata=Metadata(name="sim"), spec=SimulatorSpec(model="demo", **spec))


async def test_ranks_with_a_port_each_are_servers_of_their_own() -> None:
    """For a router that balances itself; they are named after replica and rank."""
    simulator = _simulator(replicas=2, data_parallel_size=2, data_parallel_external_lb=True)
    async with running([simulator]) as endpoints, aiohttp.ClientSession() as http:
        assert [each.name for each in endpoints] == [
            "sim-0-rank-0",
            "sim-0-rank-1",
            "sim-1-rank-0",
            "sim-1-rank-1",
        ]
        assert len({each.port for each in endpoints}) == 4
        async with http.get(f"http://127.0.0.1:{endpoints[3].port}/metrics") as response:
            page = await response.text()
    assert 'vllm:num_requests_running{engine="1",model_name="demo"} 0.0' in page
    assert 'engine="0"' not in page


async def test_ranks_behind_one_port_are_one_endpoint() -> None:
    """A router sees one server."""
    async with running([_simulator(data_parallel_size=4)]) as endpoints:
        assert [each.name for each in endpoints] == ["sim-0"]
