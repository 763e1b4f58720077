"""`session`: a session stays where it began (llm-d `session-affinity-filter` with `strategy: session_id`, production-stack `session`)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class SessionStickiness:
    """Binds a session to the least loaded endpoint at its first request, and again only when that one is no candidate any more."""

    setting: Setting
    header: str = "x-session-id"
    ttl_seconds: float = 300.0
    """A session idle for so long is forgotten (llm-d's `evictionTtlSeconds`)."""
    _bound: OrderedDict[str, tuple[str, float]] = field(default_factory=OrderedDict, init=False)
    """Session -> endpoint and last use; least recently used first."""

    def pick(self, request: Request, facts: Facts, /) -> Choice:
        """Return the session's endpoint, else the least loaded."""
        session, now = request.head.headers.get(self.header, ""), self.setting.clock()
        self._forget(now)
        bound, _ = self._bound.get(session, ("", 0.0))
        most = facts.inflight.max() + 1.0  # the binding outweighs any load, load ranks the rest
        sticky = np.array([most * (endpoint.hostport == bound) for endpoint in facts.endpoints])
        choice = choose({"session": sticky, "requests": -facts.inflight}, self.setting.rng)
        if session:
            self._bound[session] = (facts.endpoints[choice.picked[0]].hostport, now)
            self._bound.move_to_end(session)
        return choice

    def _forget(self, now: float) -> None:
        while self._bound:
            session, (_, used) = next(iter(self._bound.items()))
            if now - used <= self.ttl_seconds:
                return
            del self._bound[session]
