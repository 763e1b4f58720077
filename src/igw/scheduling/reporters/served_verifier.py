"""`destination-endpoint-served-verifier`: tells the client which endpoint served it. For the conformance tests of protocol 004."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from igw.decision import Delivery
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Deliverer, Ranking

HEADER = "x-conformance-test-served-endpoint"


class ServedVerifier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Puts what the gateway says of who served into a header of the answer. Full mode only: a lean gateway keeps its answers."""

    type: ClassVar[str] = "destination-endpoint-served-verifier"

    def deliver(
        self,
        delivery: Delivery,
        _request: Request,
        _facts: Facts,
        _picked: Sequence[int],
        _done: Mapping[str, Ranking | None],
        /,
    ) -> Delivery:
        """Ask for the header."""
        return msgspec.structs.replace(delivery, tell_served=HEADER)


_: type[Deliverer] = ServedVerifier
