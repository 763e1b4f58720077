"""`least-requests`: the candidate with the fewest requests of ours in flight (Envoy's LEAST_REQUEST over all hosts, AIBrix `least-request`)."""

from __future__ import annotations

from dataclasses import dataclass

from igw.facts import Facts
from igw.lab.policies.api import Setting
from igw.lab.policies.ranking import choose
from igw.request import Request
from igw.scheduling.scheduler import Choice


@dataclass
class LeastRequests:
    """A full scan, not a draw: with one picker the counts are exact."""

    setting: Setting

    def pick(self, _request: Request, facts: Facts, /) -> Choice:
        """Return the two least busy candidates."""
        return choose({"requests": -facts.inflight}, self.setting.rng)
