"""`inflight-load-producer`: what this picker has promised to each endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from igw.decision import Decision
from igw.facts import ADDED, LOAD, TOKENS, Facts
from igw.request import Request
from igw.scheduling.api import Producer


class InflightLoadProducer(msgspec.Struct, dict=True, forbid_unknown_fields=True, rename="camel"):
    """Requests and uncached prompt tokens in flight are always counted, by the reservations; estimated output tokens on request.

    Tokens are held until the request ends. (Upstream gives those of the prompt back with the first chunk where it sees one.)
    """

    type: ClassVar[str] = "inflight-load-producer"
    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    provides: ClassVar[tuple[str, ...]] = (LOAD, ADDED)

    add_estimated_output_tokens: bool = False
    output_ratio: Annotated[float, Meta(ge=0)] = 1.5
    """Output tokens per prompt token."""
    max_estimated_output_tokens: Annotated[int, Meta(ge=0)] | None = None
    prefix_match_info_producer_name: str = ""
    """Whose matches count as cached; they count for `addEstimatedOutputTokens` only."""
    sync_cross_replica_state: bool = True
    """Accepted, without effect: replicas do not tell each other."""

    def __post_init__(self) -> None:
        self._outputs: dict[str, float] = {}  # by endpoint, as many as have requests in flight

    @property
    def idle(self) -> bool:
        """Whether it says no more than the facts that are always gathered."""
        return not self.add_estimated_output_tokens

    def produce(self, request: Request, facts: Facts, /) -> Mapping[str, Any]:
        """Return tokens in flight and those this request would add, outputs included."""
        if self.idle:
            return {}
        outputs = self._outputs
        held = np.array([outputs.get(endpoint.hostport, 0.0) for endpoint in facts.endpoints])
        matched, _ = facts.prefix(self.prefix_match_info_producer_name)
        added = np.maximum(0.0, request.prompt_tokens - matched) + self._output(request)
        return {LOAD: facts.inflight_tokens + held, ADDED: added}

    def decided(self, decision: Decision, /) -> None:
        """Hold the outputs that are to be expected."""
        if self.add_estimated_output_tokens:
            where = decision.endpoint.hostport
            self._outputs[where] = self._outputs.get(where, 0.0) + self._output(decision.request)

    def ended(self, decision: Decision, _outcome: Any, /) -> None:
        """Give them back."""
        where = decision.endpoint.hostport
        if where in self._outputs:
            left = self._outputs.pop(where) - self._output(decision.request)
            if left > 0.5:
                self._outputs[where] = left

    def _output(self, request: Request) -> float:
        estimate = round(request.prompt_tokens * self.output_ratio)
        most = self.max_estimated_output_tokens
        return float(estimate if most is None else min(estimate, most))


_: type[Producer] = InflightLoadProducer
