"""Where the time of a request went, by what was seen of it. Pure. Whether that was too long is `attainment`'s business.

What nobody saw is not made up: it is `server` where prefill and decoding cannot be told apart, `unknown` where not even the way there can.
"""

from __future__ import annotations

from collections.abc import Mapping

from igw.decision import Decision
from igw.outcomes.outcome import Outcome

STAGES = ("queue", "routing", "network", "prefill", "decode", "server", "unknown")
"""Waiting for a place; reading, picking and reaching the endpoint, tries that failed included; the client's side of the proxy; from the
request at the endpoint to its first token, the engine's own queue included; from there to the last."""


def before_first_byte(decision: Decision, outcome: Outcome) -> Mapping[str, float]:
    """Return the stages of the time to first byte; they add up to it. Seconds."""
    return {} if outcome.ttft_seconds is None else _way(decision, outcome, outcome.ttft_seconds)


def whole(decision: Decision, outcome: Outcome) -> Mapping[str, float]:
    """Return the stages of the whole time; they add up to it. Seconds.

    An answer in one piece shows no first token: its prefill is taken to be what the pick expected.
    """
    duration, first = outcome.duration_seconds, outcome.ttft_seconds
    if duration is None or first is None:
        return {} if duration is None else {"unknown": duration}
    found = dict(_way(decision, outcome, min(first, duration)))
    rest = max(0.0, duration - first)
    client = min(outcome.download_seconds, rest)
    found["network"] += client
    if decision.request.stream:
        found["decode"] = rest - client
        return found
    served = found.pop("prefill", 0.0) + rest - client
    if served and decision.expected_ttft_seconds:
        found["prefill"] = min(served, decision.expected_ttft_seconds)
        found["decode"] = served - found["prefill"]
    elif served:
        found["server"] = served
    return found


def _way(decision: Decision, outcome: Outcome, seconds: float) -> dict[str, float]:
    queue = min(decision.waited_seconds, seconds)
    rest = seconds - queue
    if outcome.served_ttft_seconds is None:
        return {"queue": queue, "network": 0.0, "unknown": rest}
    prefill = min(max(0.0, outcome.served_ttft_seconds), rest)
    network = min(outcome.upload_seconds, rest - prefill)
    return {"queue": queue, "network": network, "prefill": prefill, "routing": rest - prefill - network}
