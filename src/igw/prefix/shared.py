"""What a tier that all endpoints share is believed to hold: whatever one of them computed, until newer prompts take its place.

No I/O: nobody is asked. Tiers that can be asked are in `remotecaches`; what each endpoint holds by itself is believed in `index`.
"""

from __future__ import annotations

from collections.abc import Sequence

from igw.prefix.api import Cost, Offer, Question
from igw.prefix.hashing import TOKENS
from igw.prefix.index import PrefixIndex

_TIER = "the shared tier"


class SharedPrefix:
    """Owner of an approximate index with one holder, as large as the tier."""

    def __init__(self, capacity_tokens: int, cost: Cost) -> None:
        self._index = PrefixIndex()
        self._slot = self._index.slot(_TIER)
        self._index.resize(self._slot, capacity_tokens)
        self._cost = cost

    def offers(self, question: Question, /) -> Sequence[Offer]:
        """Return what every endpoint could load, at four bytes a token."""
        depth = int(self._index.match(question.blocks)[self._slot])
        return (Offer(int(TOKENS[depth]), "remote", self._cost),) if depth else ()

    def stored(self, blocks: Sequence[int]) -> None:
        """Believe that the prompt with these blocks was computed, and so stored."""
        self._index.record(self._slot, blocks)
