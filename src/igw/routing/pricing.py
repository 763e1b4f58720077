"""The work a request would be at each candidate, in seconds, as facts. The formula is in `work.cost`, what it leads to in `scheduling`."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.decision import Decision
from igw.facts import Column, Facts
from igw.request import Request
from igw.work.cost import BEFORE_FIRST_TOKEN, Promised, Work, price
from igw.work.promises import Promises

_LOAD_SECONDS = 0.3
"""To bring an adapter from the server's memory or disk to the accelerator: a guess of its order; nobody reports it."""


def priced(
    request: Request,
    facts: Facts,
    promises: Promises,
    slots: NDArray[np.intp],
    oldest_use: NDArray[np.float64],
) -> tuple[Facts, Promised]:
    """Return *facts* with what *request* costs at each candidate, and what they have to do already.

    Shapes: [candidates] of slots, [slots] of *oldest_use*.
    """
    model, tokens = promises.model, max(1, request.prompt_tokens)
    work = Work(tokens, tokens - facts.matched_tokens, model.output_tokens(request.served_model))
    if (
        len(facts.adapters)
        and (seconds := _adapter_seconds(request, facts, model.decode_seconds)) is not None
    ):
        work = msgspec.structs.replace(work, further={"adapter": seconds})
    if request.generation is not None:
        ahead, takes = promises.generating.price(slots, request.generation, facts.now)
        further = {**work.further, "generate_backlog": ahead, "generate": takes}
        work = msgspec.structs.replace(work, output_tokens=0.0, further=further)
    promised = promises.promised(slots, facts.now)
    found = price(work, promised, model.rates, model.decode_seconds)
    own = found.own if request.generation is None else found.own + takes
    facts = msgspec.structs.replace(
        facts, cost=found.total, own_cost=own, costs=found.terms, oldest_use=oldest_use[slots]
    )
    return facts, promised


def _adapter_seconds(request: Request, facts: Facts, decode_seconds: float) -> Column | None:
    """Return what it takes until each candidate can run the request's adapter; None for one to a base model.

    Nothing where the adapter runs. Where it does not, it has to be loaded, unless some of the prompt is cached, which only that adapter can
    have done; and where the batch has no place for another adapter, one has to end first, which takes as long as an answer.
    """
    name, engines = request.served_model, facts.adapters.tolist()
    if not name or name in {engine.model for engine in engines if engine is not None}:
        return None
    seconds = np.zeros(len(engines))
    for index, engine in enumerate(engines):
        if engine is None or not engine.most or name in engine.running:
            continue
        if facts.matched_tokens[index] <= 0:
            seconds[index] = _LOAD_SECONDS
        if len(engine.running) >= engine.most:
            seconds[index] += decode_seconds
    return seconds


def expected_ttft_seconds(request: Request, facts: Facts, promises: Promises, index: int) -> float:
    """Return when the first token of the candidate *index* is expected, from dispatch; 0 for what is no text and has none."""
    if request.generation is not None:
        return 0.0
    return promises.model.rates.overhead + sum(
        [facts.costs[name].item(index) for name in BEFORE_FIRST_TOKEN if name in facts.costs]
    )


def promise(promises: Promises, slot: int, decision: Decision) -> None:
    """Note the work of *decision* as promised by the endpoint of *slot*."""
    request = decision.request
    tokens = max(1, request.prompt_tokens)
    uncached = tokens - decision.matched_tokens
    if request.generation is not None:
        promises.generating.send(decision.id, slot, request.generation, decision.decided_at)
    promises.send(decision.id, slot, tokens, uncached, decision.decided_at, stream=request.stream)
