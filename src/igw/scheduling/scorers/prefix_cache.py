"""`prefix-cache-scorer`: the more of the prompt is believed to be in the endpoint's prefix cache, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class PrefixCacheScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Scores matched / total tokens; 0 for all when the prompt has no full block.

    Upstream's formula at its default, matched / total blocks, for blocks that are not all of one size.
    """

    type: ClassVar[str] = "prefix-cache-scorer"

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the matched tokens."""
        return facts.matched_tokens / max(1, facts.prefix_tokens)


_: type[Scorer] = PrefixCacheScorer
