"""`by-label`: endpoints with one of some values under one label. Deprecated upstream in favour of `label-selector-filter`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from igw.endpoint import Endpoint
from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.by_endpoint import ByEndpoint


class ByLabel(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Keeps endpoints whose `label` has one of `validValues`, and with `allowsNoLabel` those without it."""

    type: ClassVar[str] = "by-label"

    label: Annotated[str, Meta(min_length=1)]
    valid_values: list[str] = []
    allows_no_label: bool = False

    def __post_init__(self) -> None:
        if not self.valid_values and not self.allows_no_label:
            raise ValueError("validValues is empty and allowsNoLabel is false: nobody would be left")
        self._valid = ByEndpoint(self._is_valid, bool)

    def keep(self, _request: Request, facts: Facts, /) -> Mask:
        """Keep who has a valid value."""
        return self._valid(facts.endpoints)

    def _is_valid(self, endpoint: Endpoint) -> bool:
        value = endpoint.labels.get(self.label)
        return self.allows_no_label if value is None else value in self.valid_values


_: type[Filter] = ByLabel
