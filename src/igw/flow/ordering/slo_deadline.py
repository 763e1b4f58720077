"""`slo-deadline-ordering-policy`: earliest deadline first, by when the first token is wanted."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from igw.flow.api import Item, Ordering


class SloDeadline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By receipt plus `x-llm-d-slo-ttft-ms`; who does not say comes last."""

    type: ClassVar[str] = "slo-deadline-ordering-policy"
    tries: ClassVar[int] = 1
    refreshed: ClassVar[int] = 0
    overtakes: ClassVar[bool] = False

    def rank(self, item: Item, _arrived_at: float, _expires_at: float, _work_seconds: float, /) -> float:
        """Rank by the wanted time of the first token."""
        wanted = item.ttft_objective_seconds
        return math.inf if wanted is None else item.received_at + wanted

    def starves_at(self, arrived_at: float, _work_seconds: float, /) -> float:
        """Give other flows half a minute to pass it while it does not fit."""
        return arrived_at + 30.0


_: type[Ordering] = SloDeadline
