"""`token-load-scorer`: the fewer prompt tokens are on their way there, this request's included, the better."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import numpy as np

from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer

_DEFAULT_TOKENS = 4_194_304


class TokenLoadScorer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Scores 1 - min(t, threshold) / threshold, t being uncached tokens in flight and of this request (upstream's formula)."""

    type: ClassVar[str] = "token-load-scorer"

    queue_threshold_tokens: int = _DEFAULT_TOKENS
    """Tokens at which the score is 0; the default where it is not above 0. The default makes differences small."""
    in_flight_load_producer_name: str = ""
    """Accepted, without effect: there is one count, which the reservations keep."""

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score by tokens in flight and those that are not matched."""
        threshold = self.queue_threshold_tokens if self.queue_threshold_tokens > 0 else _DEFAULT_TOKENS
        added = facts.added_tokens
        if not len(added):
            added = np.maximum(0.0, request.prompt_tokens - facts.matched_tokens)
        tokens: Column = facts.inflight_tokens + added if len(facts.inflight_tokens) else added
        return 1.0 - np.clip(tokens, 0.0, threshold) / threshold


_: type[Scorer] = TokenLoadScorer
