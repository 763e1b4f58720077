"""Pools: what is kept when snapshots change, and who may serve a request."""

from __future__ import annotations

import random

import pytest

from igw.columns import Columns
from igw.decision import Decision
from igw.endpoint import Endpoint, Pool
from igw.errors import NoEndpoints
from igw.outcomes.ledger import Ledger
from igw.prefix.index import PrefixIndex
from igw.request import Head, Request
from igw.routing.pools import Pools, candidates

A, B, A2 = Endpoint.at("10.0.0.1", 8000), Endpoint.at("10.0.0.2", 8000), Endpoint.at("10.0.0.1", 8001)
SIX = Endpoint.at("2001:db8::1", 8000)


def pool(*endpoints: Endpoint, name: str = "p") -> Pool:
    """Return a pool."""
    return Pool(name, "default", endpoints)


def columns(*endpoints: Endpoint) -> Columns:
    """Return the columns of a pool."""
    return Columns(pool(*endpoints), lambda _: 0)


def head(*subset: str) -> Head:
    """Return a head with the gateway's subset."""
    return Head("/", "POST", {}, subset=subset)


ALL = Head("/", "POST", {})


def test_without_a_subset_the_whole_pool_may_serve() -> None:
    """The very tuple of the snapshot, so that columns need no copy."""
    of = columns(A, B)
    found, rows = candidates(of, ALL, 0.0)
    assert found is of.pool.endpoints
    assert rows == slice(None)


@pytest.mark.parametrize(
    ("subset", "left"),
    [
        (["10.0.0.1:8000"], [A]),
        (["10.0.0.1"], [A, A2]),
        (["10.0.0.1:8001", "10.0.0.2"], [B, A2]),
        (["10.0.0.2:8000", "10.9.9.9:1"], [B]),
        (["[2001:db8::1]:8000"], [SIX]),
        (["2001:db8::1"], [SIX]),
        (["10.0.0.2:8000", "10.0.0.1:8000"], [A, B]),
    ],
)
def test_the_gateways_subset_is_kept_to(subset: list[str], left: list[Endpoint]) -> None:
    """`ip:port` means one endpoint, `ip` every port of it; pool order stays."""
    of = columns(A, B, A2, SIX)
    found, rows = candidates(of, head(*subset), 0.0)
    assert list(found) == left
    assert not isinstance(rows, slice)
    assert [of.pool.endpoints[row] for row in rows] == left


@pytest.mark.parametrize("subset", [[], ["10.9.9.9"], ["10.0.0.1:9999"], ["10.0.0"], [""]])
def test_a_subset_that_leaves_nobody_is_an_error(subset: list[str]) -> None:
    """Never the whole pool instead: the gateway said whom."""
    with pytest.raises(
        NoEndpoints, match="the gateway's subset hint names no endpoint of pool default/p"
    ) as caught:
        candidates(columns(A, B), head(*subset), 0.0)
    assert caught.value.status == 503


def test_an_empty_pool_serves_nobody() -> None:
    """It is scaled to zero."""
    with pytest.raises(NoEndpoints):
        candidates(columns(), ALL, 0.0)


def test_failing_endpoints_are_left_out() -> None:
    """Within the subset too."""
    of = columns(A, B, A2)
    of.fail(A.hostport)
    assert candidates(of, ALL, 0.0)[0] == (B, A2)
    assert candidates(of, head("10.0.0.1"), 0.0)[0] == (A2,)


def test_an_ejected_endpoint_is_left_out_and_returns_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it returns it is drawn by lot; where nobody else may serve, it serves all the same."""
    of = columns(A, B)
    of.eject(A.hostport, 100.0)
    assert candidates(of, ALL, 99.0)[0] == (B,)
    assert candidates(of, head(A.hostport), 99.0)[0] == (A,)
    monkeypatch.setattr(random, "random", lambda: 0.5)
    assert candidates(of, ALL, 114.0)[0] == (B,)
    assert candidates(of, ALL, 116.0)[0] == (A, B)
    assert candidates(of, ALL, 131.0) == ((A, B), slice(None))


def test_when_who_is_left_is_ejected_it_is_better_than_who_fails() -> None:
    """One refuses connections, the other fails some requests."""
    of = columns(A, B)
    of.fail(A.hostport)
    of.eject(B.hostport, 100.0)
    assert candidates(of, ALL, 50.0)[0] == (B,)


def test_when_all_fail_all_are_tried() -> None:
    """An engine with a broken metrics page may still serve; so it is within a subset."""
    of = columns(A, B)
    of.fail(A.hostport)
    assert candidates(of, head("10.0.0.1"), 0.0)[0] == (A,)
    of.fail(B.hostport)
    assert candidates(of, ALL, 0.0) == ((A, B), slice(None))


def test_the_only_pool_needs_no_name() -> None:
    """With several, the gateway has to say which."""
    pools = Pools(PrefixIndex(), Ledger(60))
    assert pools.columns_of("") is None
    pools.adopt({"default/p": pool(A)})
    assert pools.columns_of("") is pools.columns_of("default/p") is not None
    pools.adopt({"default/p": pool(A), "default/q": pool(B, name="q")})
    assert pools.columns_of("") is None
    found = pools.columns_of("default/q")
    assert found is not None
    assert found.pool.endpoints == (B,)
    assert pools.columns_of("default/r") is None
    pools.adopt({"default/q": pool(B, name="q")})
    assert pools.columns_of("") is found
    assert [each.pool.name for each in pools.all()] == ["q"]


def test_what_is_known_of_endpoints_that_stay_is_kept() -> None:
    """Metrics, prefixes and reservations, in the rows they have now."""
    prefix, ledger = PrefixIndex(), Ledger(60)
    pools = Pools(prefix, ledger)
    pools.adopt({"default/p": pool(A, B)})
    of = pools.columns_of("")
    assert of is not None
    of.report(B.hostport, 5, 1, 0.5)
    prefix.record(prefix.slot(B.hostport), range(3))
    ledger.open(Decision(1, Request(ALL), (B,)), of)
    pools.adopt({"default/p": pool(B, A2)})
    assert pools.columns_of("") is of
    assert of.waiting.tolist() == [5, 5]
    assert of.inflight.tolist() == [1, 0]
    assert prefix.match(range(3))[of.slots].tolist() == [3, 0]
    assert prefix.slot_of(A.hostport) is None


def test_an_endpoint_that_was_away_comes_back_with_an_empty_cache_and_its_load() -> None:
    """It was restarted, but what it was sent has not ended yet."""
    prefix, ledger = PrefixIndex(), Ledger(60)
    pools = Pools(prefix, ledger)
    pools.adopt({"default/p": pool(A, B)})
    of = pools.columns_of("")
    assert of is not None
    prefix.record(prefix.slot(B.hostport), range(3))
    ledger.open(Decision(1, Request(ALL), (B,)), of)
    pools.adopt({"default/p": pool(A)})
    pools.adopt({"default/p": pool(A, B)})
    assert of.inflight.tolist() == [0, 1]
    assert prefix.match(range(3)).tolist() == [0, 0]


def test_a_new_endpoint_never_inherits_the_prefixes_of_one_that_left() -> None:
    """Coming and going in one snapshot, whatever slots are given away."""
    prefix = PrefixIndex()
    pools = Pools(prefix, Ledger(60))
    pools.adopt({"default/p": pool(A)})
    prefix.record(prefix.slot(A.hostport), range(3))
    pools.adopt({"default/p": pool(B)})
    of = pools.columns_of("")
    assert of is not None
    assert prefix.match(range(3))[of.slots].tolist() == [0]


def test_an_endpoint_of_two_pools_is_forgotten_when_it_left_both() -> None:
    """One engine, one prefix cache."""
    prefix = PrefixIndex()
    pools = Pools(prefix, Ledger(60))
    pools.adopt({"default/p": pool(A), "default/q": pool(A, B, name="q")})
    prefix.record(prefix.slot(A.hostport), range(3))
    pools.adopt({"default/q": pool(A, B, name="q")})
    assert prefix.match(range(3))[prefix.slot(A.hostport)] == 3
    pools.adopt({"default/q": pool(B, name="q")})
    assert prefix.slot_of(A.hostport) is None
    assert prefix.statistics().entries == 0


def test_promised_work_follows_the_endpoints_of_a_pool() -> None:
    """Kept for those that stay, gone with those that leave; every pool learns for itself."""
    prefix, ledger = PrefixIndex(), Ledger(60)
    pools = Pools(prefix, ledger)
    pools.adopt({"default/p": pool(A, B), "default/q": pool(A2, name="q")})
    of = pools.columns_of("default/p")
    other = pools.columns_of("default/q")
    assert of is not None
    assert other is not None
    promises = pools.promises_of(of)
    assert promises is not pools.promises_of(other)
    for number, slot in enumerate(of.slots.tolist()):
        promises.send(number, slot, 100, 100, 0.0)
    pools.adopt({"default/p": pool(B, SIX)})
    assert pools.promises_of(of) is promises
    assert list(pools.promises()) == [promises]
    assert promises.promised(of.slots, 0.0).column("queued").tolist() == [1, 0]
    assert [each.endpoint for each in promises.statistics()] == [B.hostport, SIX.hostport]
