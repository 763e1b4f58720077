"""`data-parallel-profile-handler`: for gateways that reach one port per server only, behind which a sidecar finds the rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from igw.decision import Delivery
from igw.endpoint import hostport
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Deliverer, ProfileHandler, Ranking

HEADER = "x-data-parallel-host-port"


class DataParallelProfileHandler(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Runs the only profile; the pick goes into a header, and the request to the primary port of the same address.

    Our own gateway sends only to endpoints of the pool: the primary port has to be one of its target ports.
    """

    type: ClassVar[str] = "data-parallel-profile-handler"

    primary_port: Annotated[int, Meta(ge=1, le=65535)] = 8000

    def choose(
        self, _request: Request, profiles: Mapping[str, Any], done: Mapping[str, Ranking | None], /
    ) -> Sequence[str]:
        """Return every profile once; there is one."""
        return () if done else tuple(profiles)

    def primary(self, _request: Request, done: Mapping[str, Ranking | None], /) -> str:
        """Return the profile that was run."""
        return next(iter(done))

    def deliver(
        self,
        delivery: Delivery,
        _request: Request,
        facts: Facts,
        picked: Sequence[int],
        _done: Mapping[str, Ranking | None],
        /,
    ) -> Delivery:
        """Add the header and the address."""
        endpoint = facts.endpoints[picked[0]]
        return msgspec.structs.replace(
            delivery,
            headers={**delivery.headers, HEADER: endpoint.hostport},
            address=hostport(endpoint.address, self.primary_port),
        )


_: tuple[type[ProfileHandler], type[Deliverer]] = (DataParallelProfileHandler, DataParallelProfileHandler)
