"""`dlpm-fairness-policy`: the longest cached prefix first, within a bounded deficit (DLPM, arXiv 2501.14312)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.flow.api import Fairness, Shares
from igw.flow.rounds import Rounds


class Dlpm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """As deficit round robin, but of the flows that are in credit the one goes first whose head has most of its prompt cached. Ours."""

    type: ClassVar[str] = "dlpm-fairness-policy"

    quantum_tokens: Annotated[float, Meta(gt=0)] = 32768.0
    """How far a flow may get ahead of the others for the sake of the caches."""
    output_weight: Annotated[float, Meta(ge=0)] = 2.0
    """What an output token costs; an uncached prompt token costs 1."""
    lookahead: Annotated[int, Meta(ge=1)] = 16
    """How many flows in credit are compared."""

    def turns(self) -> Shares:
        """Return what one band keeps."""
        return Rounds(self.quantum_tokens, self.output_weight, self.lookahead)


_: type[Fairness] = Dlpm
