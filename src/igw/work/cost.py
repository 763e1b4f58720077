"""The price in seconds of sending one request to each candidate: what it waits, what it takes, what it does to others.

A pure function of columns. Marginal work, in the words of scheduling theory: an endpoint's price is how much later everybody is done if it
takes the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.work.model import Rates

MOST_DONE = 0.9
"""Of the oldest request's prefill, as long as it has no first token."""
_NOTHING, _ONE, _MOST_DONE, _LEAST_CONTEXT = np.zeros(()), np.ones(()), np.array(MOST_DONE), np.array(1000.0)
"""Constants as NumPy wants them: to convert a number of Python's takes 0.15 us each time, half as long as to add two columns."""
_DELAYED_QUEUED, _DELAYED_RUNNING = np.array(2.0), np.array(1 / 16)
"""Others that this request's prefill delays. A request in the queue: and more like it will come meanwhile, so it counts twice. One that
runs: its next token waits for the chunks of the prefill; sixteen of them feel as one that waits for all of it."""
_OWN_DECODING, _OTHERS_DECODING = 0.10, 0.05
"""A second of decoding is worth less than one of waiting: people read while tokens come."""
_SHARED = 0.5
"""Of the tokens that are cached: likely to be in use by nobody else, and so counted as taken when this request holds them."""
_GROWTH = 0.25
"""Of an answer's length: how much of it is there when memory is short."""
_CROWDED = 4.0
"""Memory that is taken is missed, anywhere in the pool, by those that wait for some now, and by those that will before it is given back."""
_LEAST_KV_TOKENS = 1e4
FULL = 0.98
"""Of KV memory: how much an engine fills."""

FETCH = "fetch"
"""The term of fetching KV cache from elsewhere."""
BEFORE_FIRST_TOKEN = ("backlog", "prefill", "memory", "adapter", FETCH)
"""Terms that make up this request's own TTFT; the others are after it, or somebody else's."""


class Work(msgspec.Struct, frozen=True):
    """One more request, as each candidate would have to serve it."""

    prompt_tokens: float
    uncached_tokens: Column
    """Of the prompt, what each would have to compute. Shape: [candidates]."""
    output_tokens: float
    """How long such answers are in the mean."""
    further: Mapping[str, Column] = {}
    """More terms in seconds per candidate, by name, as loading an adapter. Part of what it waits."""
    loaded_tokens: Column | None = None
    """Of the prompt, what is fetched: nobody computes it, but it takes memory. Shape: [candidates]; None for nothing anywhere."""


FIELDS = (
    "tokens", "oldest_tokens", "pairs", "oldest_pairs", "queued", "running", "context_tokens", "done_seconds", "free_tokens",
    "prefill_factor", "decode_factor", "turns", "blocked", "kv_tokens", "seats",
)  # fmt: skip
"""The rows of `Promised`. `price` takes them in this order."""
_ROW = {name: row for row, name in enumerate(FIELDS)}


class Promised(msgspec.Struct, frozen=True):
    """What the candidates have to do already.

    `tokens`, `pairs`: uncached prompt tokens, and their attention work, of requests without a first token; `oldest_...`: of the first of
    them, which has been computed for `done_seconds`; `queued`: how many they are. `running`: requests that have their first token and not
    their last. `context_tokens` of all requests in flight: prompts and what was generated. `kv_tokens`: KV memory in use or promised;
    `free_tokens`: what is left, infinite where its size is not known, below 0 where too much was promised. `blocked`: requests that wait
    in the engine for something other than prefill, memory or a seat in its batch; `turns`: how many lives of a running request a new one
    waits then, as each that ends lets one in. `seats`: requests that its batch was found to hold, 0 where it never was full. `prefill_factor`, `decode_factor`: of `Rates`.
    """

    rows: NDArray[np.float64]
    """Shape: [FIELDS, candidates]."""
    any_blocked: bool = False
    """Whether `blocked` and `turns` are worth a look."""

    def column(self, name: str) -> Column:
        """Return one of `FIELDS`. Shape: [candidates]."""
        return self.rows[_ROW[name]]  # type: ignore[no-any-return]


class Price(msgspec.Struct, frozen=True):
    """Seconds per candidate, by what they are spent on. Shapes: [candidates]."""

    total: Column
    own: Column
    """Prefill of this request."""
    terms: dict[str, Column]
    """They add up to the total."""


def own_seconds(work: Work, promised: Promised, rates: Rates) -> Column:
    """Return how long its own prefill takes at each candidate."""
    n, new = work.prompt_tokens, np.maximum(work.uncached_tokens, _ONE)
    # n^2 - (n - new)^2 pairs, as new x (2n - new).
    new *= rates.per_token + 2.0 * n * rates.per_pair - rates.per_pair * new
    new *= promised.column("prefill_factor")
    return new


def backlog_seconds(promised: Promised, rates: Rates) -> Column:
    """Return the prefill of those without a first token at each candidate, less what is done of the oldest."""
    rows = promised.rows
    factor, done = promised.column("prefill_factor"), promised.column("done_seconds")
    ahead, oldest = (rows[0:2] * rates.per_token + rows[2:4] * rates.per_pair) * factor
    backlog: Column = np.maximum(ahead - np.minimum(_MOST_DONE * oldest, done), _NOTHING)
    return backlog


def needed_tokens(work: Work) -> Column:
    """Return the KV memory that it needs at each candidate: of what is cached there a share, and some of its answer."""
    # taken + shared x (n - taken)
    return (1.0 - _SHARED) * _taken(work) + (_SHARED * work.prompt_tokens + _GROWTH * work.output_tokens)


def _taken(work: Work) -> Column:
    """Return the tokens that nobody holds there yet."""
    new = np.maximum(work.uncached_tokens, _ONE)
    return new if work.loaded_tokens is None else new + work.loaded_tokens


def price(work: Work, promised: Promised, rates: Rates, decode_seconds: float) -> Price:
    """Return what one more request costs at each candidate; *decode_seconds* is how long answers take from first to last token."""
    n, rows = work.prompt_tokens, promised.rows
    queued, running, context, _, free_tokens, _, decode_factor = rows[4:11]
    own, backlog = own_seconds(work, promised, rates), backlog_seconds(promised, rates)
    memory = np.zeros(len(own))
    # Where memory is not short anywhere, a quarter of the price's time is saved.
    if free_tokens.item(free_tokens.argmin()) < n + _GROWTH * work.output_tokens:
        held = np.maximum(context, _LEAST_CONTEXT)
        memory = np.maximum(needed_tokens(work) - free_tokens, _NOTHING) * (decode_seconds / held)
    terms: dict[str, Column] = dict(work.further)
    if promised.any_blocked:
        turns, blocked, kv_tokens = rows[11:14]
        memory = np.maximum(memory, turns * decode_factor * decode_seconds)
        delayed = _CROWDED * float(blocked.mean())
        terms["crowding"] = _taken(work) * (
            delayed * decode_seconds / np.maximum(kv_tokens, _LEAST_KV_TOKENS)
        )
    queue, stall = _DELAYED_QUEUED * queued * own, _DELAYED_RUNNING * running * own
    token = rates.per_sequence * running + rates.per_context_token * context
    token += rates.step + rates.per_sequence + rates.per_context_token * n
    slower = (_OTHERS_DECODING / _OWN_DECODING * (rates.per_sequence + rates.per_context_token * n)) * running
    decoding = decode_factor * (_OWN_DECODING * work.output_tokens)
    decode, slowdown = decoding * token, decoding * slower
    total = backlog + own + queue + stall + memory + decode + slowdown
    for seconds in terms.values():
        total = total + seconds
    terms |= {
        "backlog": backlog,
        "prefill": own,
        "queue": queue,
        "stall": stall,
        "memory": memory,
        "decode": decode,
        "slowdown": slowdown,
    }
    return Price(total, own, terms)


class Load(msgspec.Struct, frozen=True):
    """KV cache that each candidate could fetch, from one place. Shape of columns: [candidates]."""

    tokens: Column
    """Beyond those that it has; 0 where it cannot have any."""
    seconds: Column


def cheapest(
    work: Work, loads: Sequence[Load], promised: Promised, rates: Rates, decode_seconds: float
) -> tuple[Price, NDArray[np.intp]]:
    """Return the price where each candidate does what costs least, and by which of *loads*; -1: it computes all that it lacks.

    A prompt is computed at the cost of those who wait and decode there, and fetched at its own only: so whole prices are compared, not the
    request's own seconds.
    """
    best = price(work, promised, rates, decode_seconds)
    nothing = np.zeros(len(best.total))
    best = Price(best.total, best.own, {**best.terms, FETCH: nothing})
    chosen = np.full(len(best.total), -1, dtype=np.intp)
    for number, load in enumerate(loads):
        other = price(
            msgspec.structs.replace(
                work,
                uncached_tokens=work.uncached_tokens - load.tokens,
                loaded_tokens=load.tokens,
                further={**work.further, FETCH: load.seconds},
            ),
            promised,
            rates,
            decode_seconds,
        )
        less = (load.tokens > 0.0) & (other.total < best.total)
        if less.any():
            chosen[less] = number
            best = Price(
                np.where(less, other.total, best.total),
                np.where(less, other.own + load.seconds, best.own),
                {name: np.where(less, other.terms[name], seconds) for name, seconds in best.terms.items()},
            )
    return best, chosen
