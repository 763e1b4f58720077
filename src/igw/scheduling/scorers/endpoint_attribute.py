"""`endpoint-attribute-scorer`: any number that endpoints report, the lower or the higher the better."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class FixedRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that score 0 and 1; what lies outside scores as the nearer end."""

    min: float
    max: float

    def __post_init__(self) -> None:
        if not self.min < self.max:
            raise ValueError(f"min must be below max, found {self.min:g} and {self.max:g}")


class AdaptiveRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The least and the greatest value among the candidates score 0 and 1."""


class Normalization(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Which values score 0 and 1; `adaptiveRange` unless said."""

    fixed_range: FixedRange | UnsetType = UNSET
    adaptive_range: AdaptiveRange | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.fixed_range is not UNSET and self.adaptive_range is not UNSET:
            raise ValueError("fixedRange and adaptiveRange exclude each other")


class Algorithm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a value becomes a score."""

    type: Literal["linear_lower_is_better", "linear_higher_is_better"]
    normalization: Normalization = Normalization()


class EndpointAttributeScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Scores (v - min) / (max - min), or 1 minus that; 0 where the value is missing, 1 where all are equal (upstream's formula)."""

    type: ClassVar[str] = "endpoint-attribute-scorer"

    attribute_key: Annotated[str, Meta(min_length=1)]
    """A scalar of the endpoint: `WaitingQueueSize`, `RunningRequestsSize`, `KVCacheUsagePercent`, or a custom metric's key."""
    algorithm: Algorithm
    producer: str | None = None
    """Accepted, without effect: attribute keys are unique here."""

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by one scalar."""
        values = facts.scalar(self.attribute_key)
        missing = np.isnan(values)
        if missing.all():
            return np.zeros(len(values))
        fixed = self.algorithm.normalization.fixed_range
        if isinstance(fixed, FixedRange):
            low, high = fixed.min, fixed.max
        else:
            low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))
        if low == high:
            return np.where(missing, 0.0, 1.0)
        shares: Column = np.clip((values - low) / (high - low), 0.0, 1.0)
        if self.algorithm.type == "linear_lower_is_better":
            shares = 1.0 - shares
        shares[missing] = 0.0
        return shares


_: type[Scorer] = EndpointAttributeScorer
