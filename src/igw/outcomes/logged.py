"""Writes a line for every request that ended, for those who look that closely: level debug. Who served it, how it went, how long it took."""

from __future__ import annotations

import logging

import structlog

from igw.decision import Decision
from igw.outcomes.ledger import REQUEST_ID
from igw.outcomes.outcome import Outcome

log = structlog.get_logger("outcomes")


def logged(decision: Decision, outcome: Outcome) -> None:
    """Note an end (ledger listener)."""
    logger = log.bind()
    if not logger.is_enabled_for(logging.DEBUG):
        return
    request, usage = decision.request, outcome.usage
    request_id = request.head.headers.get(REQUEST_ID, "")
    logger.debug(
        "request_ended",
        decision=decision.id,
        request_id=request_id,
        model=request.served_model,
        endpoint=decision.server(outcome.served_by),
        end=outcome.end.value,
        status=outcome.status,
        waited_seconds=decision.waited_seconds,
        ttft_seconds=outcome.ttft_seconds,
        duration_seconds=outcome.duration_seconds,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
    )
