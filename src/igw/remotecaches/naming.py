"""Which endpoint a cache means by the name of an instance. No name is known here that an endpoint does not carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from igw.endpoint import Endpoint

LABEL = "igw.dev/cache-instance"
"""Label of an endpoint with its name in a cache, where that is none of its own."""


class Names:
    """Knows the names of the endpoints that were asked about last, which mostly are those of the next question."""

    def __init__(self) -> None:
        self._endpoints: tuple[Endpoint, ...] = ()
        self._named: dict[str, str] = {}

    def of(self, endpoints: tuple[Endpoint, ...]) -> Mapping[str, str]:
        """Return `ip:port` by what an endpoint may be called: its label, its name, `ip:port`, an address that only one of them has."""
        if endpoints is not self._endpoints:
            self._endpoints, self._named = endpoints, _named(endpoints)
        return self._named


def _named(endpoints: tuple[Endpoint, ...]) -> dict[str, str]:
    addresses = Counter(endpoint.address for endpoint in endpoints)
    named = {each.address: each.hostport for each in endpoints if addresses[each.address] == 1}
    for each in endpoints:
        named |= {each.name: each.hostport, each.hostport: each.hostport}
    return named | {each.labels[LABEL]: each.hostport for each in endpoints if LABEL in each.labels}
