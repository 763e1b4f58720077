"""Names of endpoints in caches."""

from __future__ import annotations

from igw.endpoint import Endpoint
from igw.remotecaches.naming import LABEL, Names


def test_an_endpoint_goes_by_label_name_address_and_port() -> None:
    """An address that two of them have names neither."""
    ranks = tuple(Endpoint.at("10.0.0.1", port, f"rank-{port}") for port in (8000, 8001))
    alone = Endpoint.at("10.0.0.2", 8000, "alone", labels={LABEL: "lmcache_7"})
    named = Names().of((*ranks, alone))
    assert "10.0.0.1" not in named
    assert named["rank-8001"] == named["10.0.0.1:8001"] == "10.0.0.1:8001"
    assert {named[name] for name in ("lmcache_7", "alone", "10.0.0.2", "10.0.0.2:8000")} == {alone.hostport}


def test_other_endpoints_have_other_names() -> None:
    """A pool that has changed is looked at anew."""
    names = Names()
    assert "a" in names.of((Endpoint.at("10.0.0.1", 1, "a"),))
    assert "a" not in names.of((Endpoint.at("10.0.0.1", 1, "b"),))
