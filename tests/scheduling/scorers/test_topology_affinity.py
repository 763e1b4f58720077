"""`topology-affinity-scorer` by table."""

from __future__ import annotations

from igw.endpoint import Endpoint
from igw.scheduling.scorers.topology_affinity import TopologyAffinityScorer
from tests.scheduling.candidates import endpoints, facts, plugin, request

KEYS = (
    "kubernetes.io/hostname", "topology.kubernetes.io/rack", "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)  # fmt: skip


def place(*values: str) -> dict[str, str]:
    """Return the labels of a place; an empty value is no label."""
    return {key: value for key, value in zip(KEYS, values, strict=True) if value}


PEER = Endpoint.at("10.1.0.1", 8000, labels=place("h1", "r1", "z1", "eu"))


def test_the_nearest_shared_level_counts() -> None:
    """Host 1, rack 0.2, zone 0.05, region 0.02, else nothing; the nearest level decides even where farther ones differ."""
    candidates = endpoints(
        place("h1", "r9", "z9", "us"), place("h2", "r1", "z1", "eu"), place("h3", "r2", "z1", "eu"),
        place("h4", "", "", "eu"), place("h5", "r5", "z5", "us"), place("", "", "", ""),
    )  # fmt: skip
    scores = plugin(TopologyAffinityScorer).score(request(), facts(candidates, peer=PEER))
    assert scores.tolist() == [1, 0.2, 0.05, 0.02, 0, 0]


def test_without_a_peer_nobody_is_near() -> None:
    """All score 0."""
    assert plugin(TopologyAffinityScorer).score(request(), facts(2)).tolist() == [0, 0]
