"""`session-affinity-filter`: the requests of one session go to one endpoint."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from igw.facts import Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask
from igw.scheduling.sessions import SessionAffinity


class SessionAffinityFilter(SessionAffinity):
    """Keeps the endpoint that the session is bound to; all while it is bound to none of them."""

    type: ClassVar[str] = "session-affinity-filter"

    def keep(self, request: Request, facts: Facts, /) -> Mask:
        """Keep the bound one."""
        bound = self.bound(request, facts)
        mask = np.full(len(facts.inflight), bound is None)
        if bound is not None:
            mask[bound] = True
        return mask


_: type[Filter] = SessionAffinityFilter
