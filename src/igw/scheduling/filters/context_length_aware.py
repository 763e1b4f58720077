"""`context-length-aware`: endpoints for prompts of their length (a label names the range). Filter and scorer in one."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.endpoint import Endpoint
from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Filter, Mask, Scorer
from igw.scheduling.by_endpoint import ByEndpoint

_RANGE = re.compile(r"\s*([0-9]{1,15})\s*-\s*([0-9]{1,15})\s*")
_UNLABELLED, _MALFORMED = (-1.0, -1.0), (-2.0, -2.0)
"""What stands in the place of a range where there is none."""


class ContextLengthAware(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Scores endpoints whose range `min-max` holds the prompt above all others, narrow ranges above wide ones (upstream's formula).

    In range: 0.3 + 0.7 * (0.7 / (1 + width / 10000) + 0.3 * (max - tokens) / width), 1 for a range of one length. Out of range:
    0.3 / (1 + distance / 1000). Without the label 0.5, with one that cannot be read 0. As a filter it keeps the first and the third.
    """

    type: ClassVar[str] = "context-length-aware"

    label: Annotated[str, Meta(min_length=1)] = "llm-d.ai/context-length-range"
    enable_filtering: bool = False
    """Whether it filters as well."""

    def __post_init__(self) -> None:
        self._ranges = ByEndpoint(self._range, np.dtype((np.float64, 2)))

    def keep(self, request: Request, facts: Facts, /) -> Mask:
        """Keep who is for prompts of this length."""
        if not self.enable_filtering:
            return np.ones(len(facts.inflight), dtype=bool)
        low, high = self._ranges(facts.endpoints).T
        fits: Mask = (low <= request.prompt_tokens) & (request.prompt_tokens <= high) | (
            low == _UNLABELLED[0]
        )
        return fits

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score by range."""
        low, high = self._ranges(facts.endpoints).T
        tokens, width = request.prompt_tokens, high - low
        inside = 0.3 + 0.7 * (0.7 / (1 + width / 10_000) + 0.3 * (high - tokens) / np.maximum(width, 1))
        inside[width == 0] = 1.0
        outside = 0.3 / (1 + np.maximum(low - tokens, tokens - high) / 1000)
        scores: Column = np.where((low <= tokens) & (tokens <= high), inside, outside)
        scores[low == _UNLABELLED[0]] = 0.5
        scores[low == _MALFORMED[0]] = 0.0
        return scores

    def _range(self, endpoint: Endpoint) -> tuple[float, float]:
        written = endpoint.labels.get(self.label)
        if written is None:
            return _UNLABELLED
        match = _RANGE.fullmatch(written)
        if match is None or int(match[1]) > int(match[2]):
            return _MALFORMED
        return float(match[1]), float(match[2])


_: tuple[type[Filter], type[Scorer]] = (ContextLengthAware, ContextLengthAware)
