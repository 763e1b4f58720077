"""`topology-affinity-filter` by table."""

from __future__ import annotations

import pytest

from igw.endpoint import Endpoint
from igw.scheduling.filters.topology_affinity import TopologyAffinityFilter
from tests.scheduling.candidates import endpoints, facts, plugin, request


def place(host: str, rack: str, zone: str, region: str) -> dict[str, str]:
    """Return the labels of a place."""
    names = ("kubernetes.io/hostname", "topology.kubernetes.io/rack")
    more = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
    return dict(zip(names + more, (host, rack, zone, region), strict=True))


PEER = Endpoint.at("10.1.0.1", 8000, labels=place("h1", "r1", "z1", "eu"))
FIVE = endpoints(
    place("h1", "r1", "z1", "eu"), place("h2", "r1", "z1", "eu"), place("h3", "r2", "z1", "eu"),
    place("h4", "r3", "z2", "eu"), place("h5", "r4", "z3", "us"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("least", "kept"),
    [
        ("host", [1, 0, 0, 0, 0]),
        ("rack", [1, 1, 0, 0, 0]),
        ("zone", [1, 1, 1, 0, 0]),
        ("region", [1, 1, 1, 1, 0]),
    ],
)
def test_who_is_near_enough_stays(least: str, kept: list[int]) -> None:
    """At the level asked for, or nearer."""
    mask = plugin(TopologyAffinityFilter, minAffinity=least).keep(request(), facts(FIVE, peer=PEER))
    assert mask.astype(int).tolist() == kept


def test_without_a_peer_or_anybody_near_all_stay() -> None:
    """So too where nobody knows where it stands."""
    nearest = plugin(TopologyAffinityFilter)
    assert nearest.keep(request(), facts(FIVE)).all()
    assert nearest.keep(request(), facts(FIVE[1:], peer=PEER)).all()
    assert nearest.keep(request(), facts(3, peer=PEER)).all()
    nowhere = Endpoint.at("10.1.0.2", 8000)
    assert nearest.keep(request(), facts(endpoints({}, {}), peer=nowhere)).all()
