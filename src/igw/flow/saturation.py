"""How full a set of candidates is, by a detector, corrected for what its metrics cannot show yet. The detectors are plugins of `scheduling`."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from igw.facts import Column, Facts

_UNLEARNT = 100.0
"""Requests in flight that make an endpoint full of which nothing else is known: upstream's `maxConcurrency`."""


class Detector(Protocol):
    """What tells how full endpoints are together."""

    def saturation(self, facts: Facts, /) -> float:
        """Return 1 for full, more is possible."""
        ...


def saturation(detector: Detector, facts: Facts, limits: Column | None = None) -> float:
    """Return how full the candidates of *facts* are.

    Requests sent since the last scrape count as waiting: they are not in the metrics yet. Where no endpoint's metrics can be
    believed, what is in flight counts, against *limits* (learnt concurrency), shape [candidates]: a scrape that fails stops nothing.
    """
    if not len(facts.inflight):
        return 1.0
    if len(facts.known) and not facts.known.any():
        full = np.full(len(facts.inflight), _UNLEARNT) if limits is None else limits
        return float((facts.inflight / full).mean())
    return detector.saturation(with_own_dispatches(facts))


def with_own_dispatches(facts: Facts) -> Facts:
    """Return *facts* in which requests in flight that no scrape has seen are waiting."""
    unseen = np.maximum(0.0, facts.inflight - facts.running - facts.waiting)
    if len(facts.known):
        unseen = np.where(facts.known, unseen, 0.0)
    return msgspec.structs.replace(facts, waiting=facts.waiting + unseen)
