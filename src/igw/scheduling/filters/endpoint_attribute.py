"""`endpoint-attribute-filter`: endpoints one of whose numbers is on the right side of a threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import numpy as np
from msgspec import Meta

from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask

_OPERATORS: dict[str, Callable[..., Any]] = {
    "LessThan": np.less,
    "LessThanOrEqual": np.less_equal,
    "GreaterThan": np.greater,
    "GreaterThanOrEqual": np.greater_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
}


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a value must be in comparison to another."""

    operator: Literal["LessThan", "LessThanOrEqual", "GreaterThan", "GreaterThanOrEqual", "Equal", "NotEqual"]
    value: float


class Algorithm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a value is judged."""

    threshold: Threshold
    type: Literal["threshold"] = "threshold"


class EndpointAttributeFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints whose value passes the threshold."""

    type: ClassVar[str] = "endpoint-attribute-filter"

    attribute: Annotated[str, Meta(min_length=1)]
    """A scalar of the endpoint: `WaitingQueueSize`, `RunningRequestsSize`, `KVCacheUsagePercent`, or a custom metric's key."""
    algorithm: Algorithm
    producer: str | None = None
    """Accepted, without effect but for one rule of upstream's: a name with a `/` in it needs one."""
    on_missing: Literal["Pass", "Fail"] = "Pass"
    """What becomes of endpoints without such a value."""
    fallback_on_empty: bool = False
    """Whether all are kept when none would be."""

    def __post_init__(self) -> None:
        if "/" in self.attribute and self.producer is None:
            raise ValueError(f"attribute {self.attribute!r} has a `/` in it, so producer must be said")

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who passes."""
        values = facts.scalar(self.attribute)
        threshold = self.algorithm.threshold
        passes: Mask = np.where(
            np.isnan(values),
            self.on_missing == "Pass",
            _OPERATORS[threshold.operator](values, threshold.value),
        )
        if self.fallback_on_empty and not passes.any():
            return np.ones(len(passes), dtype=bool)
        return passes


_: type[Filter] = EndpointAttributeFilter
