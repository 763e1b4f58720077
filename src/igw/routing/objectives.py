"""What a request asks for beside its model, by its headers: an objective, times, a cached prompt.

Source: llm-d-router's control headers, the newer name and the one it replaced. Other names for the model are in `igw.routing.rewriting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from igw.request import Request

OBJECTIVE = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
TTFT = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")
TPOT = ("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms")
E2E = "x-igw-slo-e2e-ms"
"""Ours: upstream has no header for the whole answer."""
FAIRNESS_ID = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
QUEUE_TTL = "x-igw-queue-ttl-ms"
"""Ours: how long the request may wait for a place, in the place of what the configuration says. Upstream has no header for it yet."""
PREFER = "prefer"

HEADERS = (*OBJECTIVE, *TTFT, *TPOT, E2E, *FAIRNESS_ID, QUEUE_TTL, PREFER)
"""Every header that is looked at: a request without any of them asks for nothing."""


class Terms(msgspec.Struct, frozen=True):
    """What an objective says of how its requests wait, beside their priority."""

    weight: float = 1.0
    """Share of a tenant among those of the same priority (`igw.dev/weight`)."""
    ttl_seconds: float | None = None
    """How long they may wait (`igw.dev/queue-ttl`); None: as the configuration says; 0: for ever."""


PLAIN = Terms()


def asked(request: Request, priorities: Mapping[str, int]) -> Request:
    """Return *request* with what its headers ask for; *priorities* are those of its pool's objectives, by name."""
    headers = request.head.headers
    objective = either(headers, OBJECTIVE)
    return msgspec.structs.replace(
        request,
        objective=objective,
        priority=priorities.get(objective, request.priority),
        fairness_id=either(headers, FAIRNESS_ID) or request.fairness_id,
        ttft_objective_seconds=_seconds(either(headers, TTFT)),
        tpot_objective_seconds=_seconds(either(headers, TPOT)),
        e2e_objective_seconds=_seconds(headers.get(E2E, "")),
        conditional=_if_available(headers.get(PREFER, "")),
    )


def queue_ttl_seconds(request: Request, terms: Terms) -> float | None:
    """Return how long *request* may wait: by its header, else by the *terms* of its objective; None if neither says."""
    return _seconds(request.head.headers.get(QUEUE_TTL, "")) or terms.ttl_seconds


def either(headers: Mapping[str, str], names: tuple[str, str]) -> str:
    """Return the value of a header that has two names: the newer one's, unless it is empty."""
    newer, older = names
    return headers.get(newer) or headers.get(older, "")


def _seconds(written: str) -> float | None:
    """Return the time that *written* milliseconds are; None for what is no positive number: a wish that nobody can read is none."""
    try:
        milliseconds = float(written)
    except ValueError:
        return None
    return milliseconds / 1000 if 0 < milliseconds < math.inf else None


def _if_available(prefer: str) -> bool:
    """Return whether `if-available` is among the preferences of a header (RFC 7240: a list, parameters after `;`)."""
    return any(each.partition(";")[0].strip().lower() == "if-available" for each in prefer.split(","))
