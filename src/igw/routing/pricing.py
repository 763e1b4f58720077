"""The work a request would be at each candidate, in seconds, as facts. The formula is in `work.cost`, what it leads to in `scheduling`."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.decision import Decision
from igw.facts import Facts
from igw.request import Request
from igw.work.cost import BEFORE_FIRST_TOKEN, Work, price
from igw.work.promises import Promises


def priced(
    request: Request,
    facts: Facts,
    promises: Promises,
    slots: NDArray[np.intp],
    oldest_use: NDArray[np.float64],
) -> Facts:
    """Return *facts* with what *request* costs at each candidate. Shapes: [candidates] of slots, [slots] of *oldest_use*."""
    model, tokens = promises.model, max(1, request.prompt_tokens)
    work = Work(tokens, tokens - facts.matched_tokens, model.output_tokens(request.model))
    found = price(work, promises.promised(slots, facts.now), model.rates, model.decode_seconds)
    return msgspec.structs.replace(
        facts, cost=found.total, own_cost=found.own, costs=found.terms, oldest_use=oldest_use[slots]
    )


def expected_ttft_seconds(facts: Facts, promises: Promises, index: int) -> float:
    """Return when the first token of the candidate *index* is expected, from dispatch."""
    return promises.model.rates.overhead + sum([facts.costs[name].item(index) for name in BEFORE_FIRST_TOKEN])


def promise(promises: Promises, slot: int, decision: Decision) -> None:
    """Note the work of *decision* as promised by the endpoint of *slot*."""
    request = decision.request
    tokens = max(1, request.prompt_tokens)
    uncached = tokens - decision.matched_tokens
    promises.send(decision.id, slot, tokens, uncached, decision.decided_at, stream=request.stream)
