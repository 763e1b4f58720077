"""`data-parallel-profile-handler`: the pick in a header, the request to the primary port."""

from __future__ import annotations

import pytest

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.errors import ConfigError
from igw.scheduling.handlers.data_parallel import DataParallelProfileHandler
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.profile import Profile, Weighted
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.scorers.queue import QueueScorer
from tests.scheduling.candidates import facts, plugin, request

RANKS = [Endpoint.at(address, port) for address in ("10.0.0.1", "fd00::1") for port in (8000, 8001)]


@pytest.mark.parametrize(
    ("idle", "header", "address"),
    [
        (0, "10.0.0.1:8000", "10.0.0.1:8000"),
        (1, "10.0.0.1:8001", "10.0.0.1:8000"),
        (3, "[fd00::1]:8001", "[fd00::1]:8000"),
    ],
)
def test_a_rank_is_reached_through_the_primary_port(idle: int, header: str, address: str) -> None:
    """Also rank 0, whose header the sidecar reads like any other's."""
    handler = plugin(DataParallelProfileHandler)
    profile = Profile((Weighted("queue", QueueScorer(), 1.0),), MaxScorePicker(max_num_of_endpoints=2))
    scheduler = Scheduler({"default": profile}, handler, deliverers=(handler,))
    waiting = [float(row != idle) for row in range(4)]
    choice = scheduler.pick(request(), facts(RANKS, waiting=waiting))
    assert choice.delivery.headers == {"x-data-parallel-host-port": header}
    assert choice.delivery.address == address
    decision = Decision(1, request(), tuple(RANKS[row] for row in choice.picked), delivery=choice.delivery)
    # A retry elsewhere would carry a header that names the wrong server.
    assert decision.destination == address
    assert decision.endpoint is RANKS[idle]
    assert decision.server(address) == decision.server("") == header


def test_the_primary_port_may_be_another() -> None:
    """If it is a port."""
    assert plugin(DataParallelProfileHandler, primaryPort=9000).primary_port == 9000
    with pytest.raises(ConfigError, match="primaryPort"):
        plugin(DataParallelProfileHandler, primaryPort=0)
