"""What would have been best by what is known now: a decision priced again once it has ended. Pure.

A request at a candidate is priced by what was believed when it was picked, but for what time has told since:

- those that were ahead of it: when they really had their first token;
- its own prompt, where it was sent: how much of it the engine really found in its cache;
- its own answer: how long it really was.

What the candidates that it was not sent to held in their caches nobody has learned: there the belief stands. So it is a lower bound
of what better knowledge of caches would have been worth, and a fair measure of what the queues did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from igw.facts import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from igw.explaining.record import Record

OWN = ("prefill", "queue", "stall")
"""Terms of `igw.work.cost` that grow with what has to be computed of the request's own prompt."""
ANSWER = ("decode", "slowdown")
"""Terms that grow with its answer."""
AHEAD = "backlog"
_MOST_RATIO = 10.0
"""An answer that is longer than expected by more counts as that much longer."""


class Hindsight(msgspec.Struct, frozen=True):
    """What each candidate would have cost, and how much of that the pick gave away."""

    costs: Column
    """Seconds. Shape: [candidates]."""
    seconds: float
    """Of the picked one beyond the least; never below 0."""


def repriced(
    costs: Mapping[str, Column], picked: int, backlog: Column, uncached_ratio: float, output_ratio: float
) -> Hindsight:
    """Return the price by what is known now.

    Args:
        costs: terms in seconds as they were believed. Shape: [candidates].
        picked: index of the candidate that was picked.
        backlog: what those ahead really took. Shape: [candidates].
        uncached_ratio: what the picked one really had to compute of the prompt, by what was believed.
        output_ratio: the real length of the answer, by what was expected.
    """
    total = np.zeros(len(backlog))
    for name, seconds in costs.items():
        if name == AHEAD:
            total += backlog
        elif name in ANSWER:
            total += seconds * output_ratio
        elif name in OWN:
            real = seconds.copy()
            real[picked] *= uncached_ratio
            total += real
        else:
            total += seconds
    return Hindsight(total, float(total[picked] - total.min()))


def hindsight(record: Record) -> Hindsight | None:
    """Return the price of a decision that has ended; None if another endpoint served it, or not to its end.

    What was `ahead` is looked at as it is now.
    """
    outcome = record.outcome
    if outcome is None or AHEAD not in record.names[1]:
        return None
    if outcome.status >= 400 or outcome.duration_seconds is None:
        return None
    where = record.endpoints[0]
    if outcome.served_by not in ("", where.hostport):
        return None
    at = next((at for at, index in enumerate(record.shown) if record.candidates[index] is where), None)
    if at is None:
        return None
    seen = record.seen()
    believed = seen.costs[AHEAD]
    waits = [
        _until_clear(each, record.decided_at, float(believed[row])) for row, each in enumerate(record.ahead)
    ]
    return repriced(
        seen.costs,
        at,
        np.array(waits),
        _uncached_ratio(record, float(seen.matches[at])),
        _output_ratio(record),
    )


def _until_clear(ahead: Iterable[Record], now: float, believed: float) -> float:
    """Return how long after *now* the last of those *ahead* had its first token; what was *believed* where nobody can tell."""
    last, unknown = now, False
    for record in ahead:
        first = _first_token_at(record)
        if first is None:
            unknown = True
        else:
            last = max(last, first)
    return max(last - now, believed) if unknown else last - now


def _first_token_at(record: Record) -> float | None:
    """Return when it had its first token, or needed none any more; None if that is not known."""
    outcome = record.outcome
    if outcome is None:
        return None
    ttft = outcome.ttft_seconds
    if record.asked.stream and ttft is not None:
        return record.decided_at - record.waited_seconds + ttft
    # An answer in one piece does not tell; it was expected then, and its end bounds it.
    return min(record.ended_at, record.decided_at + record.expected_ttft_seconds)


def _uncached_ratio(record: Record, matched: float) -> float:
    usage = record.outcome.usage if record.outcome is not None else None
    if usage is None or not usage.prompt_tokens or usage.cached_tokens is None:
        return 1.0
    prompt = max(1, record.asked.prompt_tokens)
    fetched = record.fetch.tokens if record.fetch is not None else 0
    believed = max(1.0, prompt - matched - fetched) / prompt
    real = max(1.0, usage.prompt_tokens - usage.cached_tokens) / usage.prompt_tokens
    return real / believed


def _output_ratio(record: Record) -> float:
    tokens = record.outcome.usage.completion_tokens if record.outcome is not None else None
    if not tokens or record.expected_output_tokens <= 0:
        return 1.0
    return min(tokens / record.expected_output_tokens, _MOST_RATIO)
