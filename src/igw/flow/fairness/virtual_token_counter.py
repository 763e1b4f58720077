"""`virtual-token-counter-fairness-policy`: the flow that has had the least service for its weight (VTC, arXiv 2401.00588)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.flow.api import Fairness, Shares
from igw.flow.flows import Flow, Held


class _Turns:
    """A counter per flow, and where those in service are."""

    lookahead = 0
    moves_with_time = False
    leaves_room = True

    def __init__(self, output_weight: float) -> None:
        self._output_weight = output_weight
        self._reached = 0.0

    def key(self, flow: Flow, _head: Held, _now: float, /) -> tuple[float, ...]:
        """Take the least counter."""
        return (flow.counter,)

    def joined(self, flow: Flow, _now: float, /) -> None:
        """Lift its counter: having asked for nothing saves nothing up."""
        flow.counter = max(flow.counter, self._reached)

    def cost(self, _prompt_tokens: float, uncached_tokens: float, output_tokens: float, /) -> float:
        """Charge for work: what was cached is free."""
        return uncached_tokens + self._output_weight * output_tokens

    def dispatched(self, flow: Flow, cost: float, _now: float, /) -> None:
        """Count it, and remember how far the counters of those in service have come."""
        self._reached = max(self._reached, flow.counter)
        flow.counter += cost / flow.weight

    def corrected(self, flow: Flow, more: float, _now: float, /) -> None:
        """Count what was not foreseen, or give back."""
        flow.counter += more / flow.weight


class VirtualTokenCounter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fair by work done. Two flows that always have something waiting differ by at most two of the largest requests. Ours, the default."""

    type: ClassVar[str] = "virtual-token-counter-fairness-policy"

    output_weight: Annotated[float, Meta(ge=0)] = 2.0
    """What an output token costs; an uncached prompt token costs 1."""

    def turns(self) -> Shares:
        """Return what one band keeps."""
        return _Turns(self.output_weight)


_: type[Fairness] = VirtualTokenCounter
