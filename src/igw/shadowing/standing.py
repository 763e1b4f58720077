"""How a shadow did: what it would have chosen, against what was chosen. Choosing is `policy`'s."""

from __future__ import annotations

from collections import deque

import msgspec

_KEPT = 20
"""Choices that differed, the latest."""
SAME_SECONDS = 1e-3
"""Estimates that differ by less are as good as equal."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One choice of a shadow beside the one that was made."""

    decision: str
    """Id of the decision: `igw explain` knows it."""
    chosen: str
    """`ip:port` where the request went."""
    shadow: str
    """`ip:port` where it would have gone; empty: it would have been turned away."""
    chosen_ttft_seconds: float | None = None
    """What was to be expected there; None where nobody can tell."""
    shadow_ttft_seconds: float | None = None

    @property
    def agrees(self) -> str:
        """Value of the metrics' label: `true`, `false`, or `refused`."""
        if not self.shadow:
            return "refused"
        return "true" if self.shadow == self.chosen else "false"

    @property
    def difference_seconds(self) -> float | None:
        """How much longer the first token would have taken; below 0: the shadow's choice was the faster one."""
        if self.chosen_ttft_seconds is None or self.shadow_ttft_seconds is None:
            return None
        return self.shadow_ttft_seconds - self.chosen_ttft_seconds


class Row(msgspec.Struct, frozen=True):
    """What a table says of one shadow. Means are None as long as there is nothing to take them of."""

    name: str
    source: str
    off: str
    """Why it does not decide any more; empty: it does."""
    refused_edit: str
    """What is wrong with the last edit of its file; empty: nothing."""
    seconds: float
    """How long it has been compared: since the start, or the last edit of either configuration."""
    decisions: int
    agreed: int
    refused: int
    agreement: float | None
    estimated: int
    """Of the decisions, those for which both times to first token could be estimated."""
    faster: int
    slower: int
    chosen_ttft_seconds: float | None
    """Mean estimate for what was chosen."""
    shadow_ttft_seconds: float | None
    cpu_seconds: float | None
    """Mean per decision."""
    unfed: list[str]
    """Its producers that are not run, because they ask or hear others."""
    remembers: list[str]
    """Its plugins that go by earlier decisions: they are told of those that were really made."""
    differing: list[Verdict]
    """The latest choices that differed, the latest first."""


class Standing:
    """Owner of the counts of one shadow since *since*, in seconds of the picker's clock."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.decisions = self.agreed = self.refused = self.estimated = self.faster = self.slower = 0
        self.chosen_ttft_seconds = self.shadow_ttft_seconds = self.cpu_seconds = 0.0
        self.differing: deque[Verdict] = deque(maxlen=_KEPT)

    def add(self, verdict: Verdict, cpu_seconds: float) -> None:
        """Count one choice and what it cost."""
        self.decisions += 1
        self.cpu_seconds += cpu_seconds
        agrees = verdict.agrees
        self.agreed += agrees == "true"
        self.refused += agrees == "refused"
        if agrees != "true":
            self.differing.append(verdict)
        difference = verdict.difference_seconds
        if difference is None or verdict.chosen_ttft_seconds is None or verdict.shadow_ttft_seconds is None:
            return
        self.estimated += 1
        self.chosen_ttft_seconds += verdict.chosen_ttft_seconds
        self.shadow_ttft_seconds += verdict.shadow_ttft_seconds
        self.faster += difference <= -SAME_SECONDS
        self.slower += difference >= SAME_SECONDS


def mean(total: float, count: int) -> float | None:
    """Return *total* by *count*; None for nothing."""
    return total / count if count else None
