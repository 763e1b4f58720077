"""`round-robin-fairness-policy`: one request of each flow in turn."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.flow.api import Fairness, Shares
from igw.flow.flows import Flow, Held


class _Turns:
    """Who was served goes to the end."""

    lookahead = 0
    moves_with_time = False
    leaves_room = False

    def __init__(self) -> None:
        self._last = 0

    def key(self, flow: Flow, _head: Held, _now: float, /) -> tuple[float, ...]:
        """Take the least recently served."""
        return (flow.turn,)

    def joined(self, flow: Flow, _now: float, /) -> None:
        """Go to the end, but keep the place of one that was here before: a short pause is no way to the front or to the back."""
        if flow.turn == 0:
            self._last += 1
            flow.turn = self._last

    def cost(self, _prompt_tokens: float, _uncached_tokens: float, _output_tokens: float, /) -> float:
        """Count requests."""
        return 1.0

    def dispatched(self, flow: Flow, _cost: float, _now: float, /) -> None:
        """Go to the end."""
        self._last += 1
        flow.turn = self._last

    def corrected(self, flow: Flow, more: float, now: float, /) -> None:
        """A request is a request."""


class RoundRobin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fair by number of requests, however large they are."""

    type: ClassVar[str] = "round-robin-fairness-policy"

    def turns(self) -> Shares:
        """Return what one band keeps."""
        return _Turns()


_: type[Fairness] = RoundRobin
