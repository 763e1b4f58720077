"""`global-strict-fairness-policy`: the best head of all flows, whosoever it is."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.flow.api import Fairness, Shares
from igw.flow.flows import Flow, Held


class _Turns:
    """Flows do not matter."""

    lookahead = 0
    moves_with_time = False
    leaves_room = False

    def key(self, _flow: Flow, head: Held, _now: float, /) -> tuple[float, ...]:
        """Take the rank that the ordering policy gave."""
        return (head.entry[0], head.number)

    def joined(self, flow: Flow, now: float, /) -> None:
        """Nothing to note."""

    def cost(self, _prompt_tokens: float, _uncached_tokens: float, _output_tokens: float, /) -> float:
        """Count requests."""
        return 1.0

    def dispatched(self, flow: Flow, cost: float, now: float, /) -> None:
        """Nothing to note."""

    def corrected(self, flow: Flow, more: float, now: float, /) -> None:
        """Nothing to note."""


class GlobalStrict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fairness: who asks more gets more (upstream's default)."""

    type: ClassVar[str] = "global-strict-fairness-policy"

    def turns(self) -> Shares:
        """Return what one band keeps."""
        return _Turns()


_: type[Fairness] = GlobalStrict
