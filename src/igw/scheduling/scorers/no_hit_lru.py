"""`no-hit-lru-scorer`: a request that nobody has a prefix of goes where the last such request was longest ago."""

from __future__ import annotations

import random
from typing import ClassVar

import msgspec
import numpy as np

from igw.decision import Decision
from igw.facts import Column, Facts
from igw.request import Head, Request
from igw.scheduling.api import Scorer

_DEFAULT_SIZE = 1024


class NoHitLruScorer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Scores 1 - rank / (n - 1) for a cold request, 0.5 for all when anybody has a match (upstream's formula).

    Ranks: endpoints without a cold request so far in random order, then the others, least recent first. They are counted
    among the candidates, so an endpoint that left is in nobody's way. Owner of who got the last cold request when.
    """

    type: ClassVar[str] = "no-hit-lru-scorer"

    lru_size: int = _DEFAULT_SIZE
    """Endpoints that are remembered, the least recent is forgotten first; the default where it is not above 0."""
    prefix_match_info_producer_name: str = ""
    """Whose matches; the approximate index's where it is empty."""
    prefix_plugin_type: str = ""
    """Accepted, without effect, as upstream does."""
    prefix_plugin_name: str = ""
    """Accepted, without effect, as upstream does."""

    def __post_init__(self) -> None:
        self._turn = 0
        self._turns: dict[str, int] = {}  # by `ip:port`, least recent first
        self._cold: Head | None = None  # of the request that is being decided, if it is cold

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score by whose turn it is."""
        matched, _ = facts.prefix(self.prefix_match_info_producer_name)
        if matched.any():
            self._cold = None
            return np.full(len(matched), 0.5)
        self._cold = request.head
        turns = self._turns
        since = [turns.get(endpoint.hostport, 0) for endpoint in facts.endpoints]
        order = np.lexsort(([random.random() for _ in since], since))
        scores = np.empty(len(order))
        scores[order] = np.linspace(1.0, 0.0, len(order))
        return scores

    def decided(self, decision: Decision, /) -> None:
        """Put the picked endpoint last, if the request was cold."""
        cold, self._cold = self._cold, None
        if cold is not decision.request.head:  # not ours to count: another profile's, or scored warm
            return
        self._turn += 1
        hostport = decision.endpoint.hostport
        self._turns.pop(hostport, None)
        self._turns[hostport] = self._turn
        if len(self._turns) > (self.lru_size if self.lru_size > 0 else _DEFAULT_SIZE):
            del self._turns[next(iter(self._turns))]


_: type[Scorer] = NoHitLruScorer
