"""`prefix-cache-scorer`: the more of the prompt is believed to be in the endpoint's prefix cache, the better."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer


class PrefixCacheScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Scores (1 - w) * matched / total + w * min(1, matched / scale)^2; 0 for all when the prompt has no full block.

    Upstream's formula with tokens where it has blocks: ours are not all of one size.
    """

    type: ClassVar[str] = "prefix-cache-scorer"

    prefix_match_info_producer_name: str = ""
    """Whose matches; the approximate index's where it is empty."""
    match_length_weight: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """w: how much the length of the match counts beside its share of the prompt."""
    match_length_scale_tokens: Annotated[int, Meta(gt=0)] = 8192
    """scale: a match this long has the full score for its length."""

    def score(self, _request: Request, facts: Facts, /) -> Column:
        """Score by the matched tokens."""
        matched, total = facts.matched_tokens, facts.prefix_tokens
        if self.prefix_match_info_producer_name or facts.prefixes:
            matched, total = facts.prefix(self.prefix_match_info_producer_name)
        share: Column = matched / max(1, total)
        if self.match_length_weight == 0.0:
            return share
        length = np.minimum(1.0, matched / self.match_length_scale_tokens)
        return (1.0 - self.match_length_weight) * share + self.match_length_weight * length * length


_: type[Scorer] = PrefixCacheScorer
