"""What caches offer, as columns of the candidates."""

from __future__ import annotations

from igw.endpoint import Endpoint
from igw.prefix.api import FREE, Cost, Offer, fetches

ENDPOINTS = tuple(Endpoint.at(f"10.0.0.{last}", 8000) for last in range(1, 4))
REMOTE = Cost(0.005, 2e-5)


def columns(*offers: Offer, scale: float = 1.0) -> list[tuple[list[float], float, float, str, str]]:
    """Return what `fetches` makes of *offers*, arrays as lists."""
    return [(tokens.tolist(), *rest) for tokens, *rest in fetches(offers, ENDPOINTS, scale)]  # type: ignore[misc]


def test_what_all_can_have_is_one_column() -> None:
    """At the tier's cost."""
    assert columns(Offer(512, "remote", REMOTE)) == [([512.0] * 3, 0.005, 2e-5, "remote", "")]


def test_offers_of_one_tier_for_several_endpoints_share_a_column() -> None:
    """The most that each can have counts; who is not asked about is left out, and so is nothing."""
    found = columns(
        Offer(100, "gpu", FREE, to="10.0.0.1:8000"),
        Offer(300, "gpu", FREE, to="10.0.0.3:8000"),
        Offer(200, "gpu", FREE, to="10.0.0.3:8000"),
        Offer(900, "gpu", FREE, to="10.9.9.9:8000"),
        Offer(0, "remote", REMOTE),
    )
    assert found == [([100.0, 0.0, 300.0], 0.0, 0.0, "gpu", "")]


def test_a_peer_does_not_pull_from_itself() -> None:
    """Everybody else can."""
    found = columns(Offer(64, "peer", REMOTE, peer="10.0.0.2:8000"))
    assert found == [([64.0, 0.0, 64.0], 0.005, 2e-5, "peer", "10.0.0.2:8000")]


def test_tokens_are_counted_as_the_facts_count_them() -> None:
    """Four bytes each: where a real token is six bytes long, there are more of them and each takes less."""
    [(tokens, latency, per_token, _, _)] = columns(Offer(100, "remote", REMOTE), scale=1.5)
    assert tokens == [150.0] * 3
    assert latency + per_token * 150 == REMOTE.latency_seconds + REMOTE.seconds_per_token * 100
