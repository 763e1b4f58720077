"""`program-aware-fairness`: the flow with the least attained service, which fades, and the longest wait."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from igw.flow.api import Fairness, Shares
from igw.flow.flows import Flow, Held


class _Turns:
    """Service attained by each flow, with a half-life."""

    lookahead = 0
    moves_with_time = True
    leaves_room = False

    def __init__(self, weights: tuple[float, float], half_life_seconds: float) -> None:
        self._service_weight, self._wait_weight = weights
        self._half_life = half_life_seconds
        self._most_service = 1.0
        self._most_wait = 1.0

    def key(self, flow: Flow, head: Held, now: float, /) -> tuple[float, ...]:
        """Take the least of attained service minus wait, each as a share of the most seen."""
        service, waited = self._attained(flow, now), now - head.arrived_at
        self._most_service, self._most_wait = max(self._most_service, service), max(self._most_wait, waited)
        return (
            self._service_weight * service / self._most_service
            - self._wait_weight * waited / self._most_wait,
        )

    def joined(self, flow: Flow, now: float, /) -> None:
        """Nothing to note: service fades by itself."""

    def cost(self, prompt_tokens: float, _uncached_tokens: float, output_tokens: float, /) -> float:
        """Charge as upstream: the whole prompt, output twice."""
        return prompt_tokens + 2.0 * output_tokens

    def dispatched(self, flow: Flow, cost: float, now: float, /) -> None:
        """Count it."""
        self.corrected(flow, cost, now)

    def corrected(self, flow: Flow, more: float, now: float, /) -> None:
        """Count what was not foreseen, or give back."""
        flow.counter = max(0.0, self._attained(flow, now) + more)
        flow.served_at = now
        self._most_service = max(self._most_service, flow.counter)

    def _attained(self, flow: Flow, now: float) -> float:
        if self._half_life <= 0:
            return flow.counter
        return flow.counter * math.exp2((flow.served_at - now) / self._half_life)


class ProgramAware(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Least attained service of programs that make many calls. Exact while 16 flows wait; of more, some are weighed a few turns late."""

    type: ClassVar[str] = "program-aware-fairness"

    strategy: Literal["las"] = "las"
    las_weight_service: Annotated[float, Meta(ge=0)] = 0.8
    las_weight_head_wait: Annotated[float, Meta(ge=0)] = 0.2
    las_half_life_seconds: Annotated[float, Meta(ge=0)] = 60.0
    """Attained service halves in this time; 0: never."""
    eviction_ttl_seconds: Annotated[float, Meta(gt=0)] = 3600.0
    """Accepted, without effect: idle flows are forgotten after five minutes."""
    eviction_sweep_seconds: Annotated[float, Meta(gt=0)] = 300.0
    """Accepted, without effect: nothing is swept."""

    def turns(self) -> Shares:
        """Return what one band keeps."""
        return _Turns((self.las_weight_service, self.las_weight_head_wait), self.las_half_life_seconds)


_: type[Fairness] = ProgramAware
