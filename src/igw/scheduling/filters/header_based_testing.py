"""`header-based-testing-filter`: the endpoints that a request's header names. For conformance tests: any client may pick its endpoint."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask

HEADER = "test-epp-endpoint-selection"


class HeaderBasedTestingFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keeps endpoints listed in the header, `ip` or `ip:port`, comma-separated; nobody without it (upstream's rule)."""

    type: ClassVar[str] = "header-based-testing-filter"

    def keep(self, request: Request, facts: Facts, /) -> Mask:
        """Keep who is named."""
        named = {part.strip() for part in request.head.headers.get(HEADER, "").split(",")}
        return np.array([e.hostport in named or e.address in named for e in facts.endpoints], dtype=bool)


_: type[Filter] = HeaderBasedTestingFilter
