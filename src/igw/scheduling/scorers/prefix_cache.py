"""`prefix-cache-scorer`: the more of the prompt is believed to be in the endpoint's prefix cache, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class PrefixCacheScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores matched / total blocks; 0 for all when the prompt has no full block (upstream's formula at its default)."""

    type: ClassVar[str] = "prefix-cache-scorer"

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the matched blocks."""
        return facts.matched_blocks / max(1, len(facts.blocks))


_: type[Scorer] = PrefixCacheScorer
