"""What a scheduling plugin is. A plugin is a frozen Struct whose fields are its parameters, with one of these methods.

Scores are columns in candidate order, so nothing is wrapped, copied or looked up per endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from igw.facts import Column, Facts
from igw.request import Request


class Scorer(Protocol):
    """Ranks the candidates of one request."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Return one score per candidate.

        Shape: [candidates], each in [0, 1]; 1 is best.
        """
        ...


class Picker(Protocol):
    """Takes endpoints from the ranked candidates."""

    @property
    def type(self) -> str:
        """Name in `EndpointPickerConfig` (upstream's)."""
        ...

    def pick(self, totals: Column, /) -> Sequence[int]:
        """Return indices of candidates, best first: the pick, then where to retry.

        Shape of *totals*: [candidates], weighted sums of scores. It may be written to.
        """
        ...
