"""The price in seconds of sending one request to each candidate: what it waits, what it takes, what it does to others.

A pure function of columns. Marginal work, in the words of scheduling theory: an endpoint's price is how much later everybody is done if it
takes the request.
"""

from __future__ import annotations

import msgspec
import numpy as np

from igw.facts import Column
from igw.work.model import Rates

_QUEUED = 2.0
"""A request in the queue is delayed by this one's prefill, and more like them will come meanwhile: counted twice."""
_STALLED = 1 / 16
"""Of a running request: its next token waits for the chunks of a prefill; sixteen of them feel as one that waits for all of it."""
_OWN_DECODING, _OTHERS_DECODING = 0.10, 0.05
"""A second of decoding is worth less than one of waiting: people read while tokens come."""
_SHARED = 0.5
"""Of the tokens that are cached: likely to be in use by nobody else, and so counted as taken when this request holds them."""
_GROWTH = 0.25
"""Of an answer's length: how much of it is there when memory is short."""
_FULL = 0.98
_LEAST_CONTEXT = 1000.0


class Promised(msgspec.Struct, frozen=True):
    """What the candidates have to do already. Shapes: [candidates]."""

    tokens: Column
    """Uncached prompt tokens of requests without a first token."""
    pairs: Column
    """Their attention work."""
    queued: Column
    """How many they are."""
    done_seconds: Column
    """How long the oldest of them has been computed."""
    oldest_tokens: Column
    oldest_pairs: Column
    running: Column
    """Requests that have their first token and not their last."""
    context_tokens: Column
    """Prompt tokens of all requests in flight."""
    kv_tokens: Column
    """KV memory in use or promised."""
    kv_capacity_tokens: Column
    """0 where it is not known: then it is no reason against an endpoint."""
    prefill_factor: Column
    decode_factor: Column


class Price(msgspec.Struct, frozen=True):
    """Seconds per candidate, by what they are spent on. Shapes: [candidates]."""

    total: Column
    own: Column
    """Prefill of this request."""
    terms: dict[str, Column]
    """They add up to the total."""


def price(
    prompt_tokens: float,
    uncached_tokens: Column,
    output_tokens: float,
    promised: Promised,
    rates: Rates,
    decode_seconds: float,
) -> Price:
    """Return what one more request costs at each candidate.

    *uncached_tokens* are those that each would have to compute; *output_tokens* is what such answers are long in the mean;
    *decode_seconds* what they take from first to last token.
    """
    p, n = promised, prompt_tokens
    new = np.maximum(uncached_tokens, 1.0)
    kept = n - new
    slow, running = p.prefill_factor, p.running
    own = slow * (rates.per_token * new + rates.per_pair * (n * n - kept * kept))
    ahead = slow * (rates.per_token * p.tokens + rates.per_pair * p.pairs)
    oldest = slow * (rates.per_token * p.oldest_tokens + rates.per_pair * p.oldest_pairs)
    backlog = np.maximum(ahead - np.minimum(0.9 * oldest, p.done_seconds), 0.0)
    wanted = p.kv_tokens + new + _SHARED * kept + _GROWTH * output_tokens
    short = np.maximum(wanted - _FULL * p.kv_capacity_tokens, 0.0) * (p.kv_capacity_tokens > 0)
    memory = short / np.maximum(p.context_tokens, _LEAST_CONTEXT) * decode_seconds
    token = rates.step + rates.per_sequence * (running + 1) + rates.per_context_token * (p.context_tokens + n)
    added = running * (rates.per_sequence + rates.per_context_token * n)
    decoding = output_tokens * p.decode_factor
    terms = {
        "backlog": backlog,
        "prefill": own,
        "queue": own * (_QUEUED * p.queued),
        "stall": own * (_STALLED * running),
        "memory": memory,
        "decode": decoding * token * _OWN_DECODING,
        "slowdown": decoding * added * _OTHERS_DECODING,
    }
    total = backlog + own * (1.0 + _QUEUED * p.queued + _STALLED * running) + memory
    total = total + terms["decode"] + terms["slowdown"]
    return Price(total, own, terms)
