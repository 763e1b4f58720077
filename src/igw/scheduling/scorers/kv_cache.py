"""`kv-cache-utilization-scorer`: the more free KV memory, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class KvCacheUtilizationScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores 1 - usage (upstream's formula)."""

    type: ClassVar[str] = "kv-cache-utilization-scorer"

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the KV usage column."""
        return 1.0 - facts.kv_usage


_: type[Scorer] = KvCacheUtilizationScorer
