"""`label-selector-filter`: endpoints whose labels match a Kubernetes label selector."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.by_endpoint import ByEndpoint


class Expression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement on a label (Kubernetes `LabelSelectorRequirement`)."""

    key: Annotated[str, Meta(min_length=1)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []

    def __post_init__(self) -> None:
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"operator {self.operator} needs values")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"operator {self.operator} takes no values")

    def holds(self, endpoint: Endpoint) -> bool:
        """Return whether *endpoint* has such a label. `NotIn` holds without the label too, as in Kubernetes."""
        value = endpoint.labels.get(self.key)
        if self.operator in ("Exists", "DoesNotExist"):
            return (value is not None) == (self.operator == "Exists")
        return (value is not None and value in self.values) == (self.operator == "In")


class LabelSelectorFilter(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints that have every label of `matchLabels` and meet every requirement; without either, all."""

    type: ClassVar[str] = "label-selector-filter"

    match_labels: dict[str, str] = {}
    match_expressions: list[Expression] = []

    def __post_init__(self) -> None:
        self._matching = ByEndpoint(self._matches, bool)  # no field: what is a field is a parameter

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who matches."""
        return self._matching(facts.endpoints)

    def _matches(self, endpoint: Endpoint) -> bool:
        return self.match_labels.items() <= endpoint.labels.items() and all(
            expression.holds(endpoint) for expression in self.match_expressions
        )


_: type[Filter] = LabelSelectorFilter
