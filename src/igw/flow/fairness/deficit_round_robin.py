"""`deficit-round-robin-fairness-policy`: in turn, each for a quantum of work."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.flow.api import Fairness, Shares
from igw.flow.rounds import Rounds


class DeficitRoundRobin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fair by work done, in larger portions than a virtual token counter. Ours."""

    type: ClassVar[str] = "deficit-round-robin-fairness-policy"

    quantum_tokens: Annotated[float, Meta(gt=0)] = 8192.0
    """Work in one turn of a flow of weight 1."""
    output_weight: Annotated[float, Meta(ge=0)] = 2.0
    """What an output token costs; an uncached prompt token costs 1."""

    def turns(self) -> Shares:
        """Return what one band keeps."""
        return Rounds(self.quantum_tokens, self.output_weight)


_: type[Fairness] = DeficitRoundRobin
