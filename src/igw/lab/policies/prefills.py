"""Prompt tokens that a policy sent to each endpoint and whose answers have not begun: upstream's `InFlightLoad.Tokens` and its relatives.

The product's in-flight column holds them until the answer ends; rivals that watch the answer let go at its first token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from igw.decision import Decision
from igw.endpoint import Endpoint
from igw.facts import Column
from igw.outcomes.outcome import Outcome


class Prefills:
    """Counts by endpoint and lets go of every request once, whoever speaks first."""

    def __init__(self) -> None:
        self._tokens: dict[str, int] = {}
        self._open: dict[int, tuple[str, int]] = {}

    def column(self, endpoints: Iterable[Endpoint]) -> Column:
        """Return the outstanding tokens of *endpoints*. Shape: [candidates]."""
        return np.array([self._tokens.get(endpoint.hostport, 0) for endpoint in endpoints], dtype=np.float64)

    def begin(self, decision: Decision) -> None:
        """Count what the picked endpoint is believed to have to compute."""
        where, tokens = decision.endpoint.hostport, decision.uncached_tokens
        self._open[decision.id] = (where, tokens)
        self._tokens[where] = self._tokens.get(where, 0) + tokens

    def end(self, decision: Decision) -> None:
        """Let go; nothing happens the second time."""
        entry = self._open.pop(decision.id, None)
        if entry is None:
            return
        where, tokens = entry
        self._tokens[where] -= tokens
        if not self._tokens[where]:
            del self._tokens[where]


class Watching:
    """Base of dataclasses: a policy that keeps `Prefills` and is told of first tokens, whether or not the product's picker would be."""

    watches_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.prefills = Prefills()

    def decided(self, decision: Decision) -> None:
        """Count the uncached tokens in."""
        self.prefills.begin(decision)

    def first_token(self, decision: Decision) -> None:
        """Count them out: the prompt is computed."""
        self.prefills.end(decision)

    def ended(self, decision: Decision, _outcome: Outcome) -> None:
        """Count them out if nobody told of a first token."""
        self.prefills.end(decision)
