"""`header-label-affinity-scorer`: prefers endpoints whose label says what a header of the request says."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.endpoint import Endpoint
from igw.facts import Column, Facts
from igw.request import Request
from igw.scheduling.api import Scorer
from igw.scheduling.by_endpoint import ByEndpoint


class HeaderLabelAffinityScorer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Scores 1 where the label's value equals the header's, else 0; 0 for all without the header (upstream's formula)."""

    type: ClassVar[str] = "header-label-affinity-scorer"

    header_name: Annotated[str, Meta(min_length=1)]
    """In any case."""
    label_key: Annotated[str, Meta(min_length=1)]
    """A label of the endpoint (in Kubernetes: of its Pod)."""

    def __post_init__(self) -> None:
        self._labels = ByEndpoint(self._label, object)

    def score(self, request: Request, facts: Facts, /) -> Column:
        """Score by one label."""
        wanted = request.head.headers.get(self.header_name.lower())
        if not wanted:
            return np.zeros(len(facts.inflight))
        scores: Column = (self._labels(facts.endpoints) == wanted).astype(np.float64)
        return scores

    def _label(self, endpoint: Endpoint) -> str | None:
        return endpoint.labels.get(self.label_key)


_: type[Scorer] = HeaderLabelAffinityScorer
