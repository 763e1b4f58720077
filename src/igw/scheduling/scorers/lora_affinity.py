"""`lora-affinity-scorer`: an adapter's request goes where the adapter is in use, else where there is room for one more."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Adapters, Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer

_RUNNING, _ROOM, _WAITING = 1.0, 0.8, 0.6


class LoraAffinityScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores 1 where the adapter runs, else 0.8 where fewer than `max_lora` are used, else 0.6 where it waits, else 0.

    Upstream's tiers. An adapter that both runs and waits takes one place, not two. A request for the base model has no
    preference: 0 for all.
    """

    type: ClassVar[str] = "lora-affinity-scorer"

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score by the adapters of each candidate."""
        adapter, engines = request.served_model, facts.adapters.tolist()
        if not adapter or not engines or adapter in {engine.model for engine in engines}:
            return np.zeros(len(facts.inflight))
        return np.array([_tier(engine, adapter) for engine in engines])


def _tier(engine: Adapters, adapter: str) -> float:
    if adapter in engine.running:
        return _RUNNING
    if len(engine.running | engine.waiting) < engine.most:
        return _ROOM
    return _WAITING if adapter in engine.waiting else 0.0


_: type[Scorer] = LoraAffinityScorer
