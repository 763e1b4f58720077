"""The work a request would be at each candidate, in seconds, as facts. The formula is in `work.cost`, what it leads to in `scheduling`."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.decision import Decision, Fetched
from igw.facts import Column, Facts
from igw.request import Request
from igw.work.cost import (
    BEFORE_FIRST_TOKEN,
    FETCH,
    Load,
    Price,
    Promised,
    Work,
    backlog_seconds,
    cheapest,
    own_seconds,
    price,
)
from igw.work.model import WorkModel
from igw.work.promises import Promises

_LOAD_SECONDS = 0.3
"""To bring an adapter from the server's memory or disk to the accelerator: a guess of its order; nobody reports it."""


class Prospect(msgspec.Struct, frozen=True):
    """One more request and what its candidates have to do already: enough to tell who has room, before its price is known."""

    work: Work
    promised: Promised
    promises: Promises
    slots: NDArray[np.intp]
    """Of the candidates in *promises*. Shape: [candidates]."""

    @property
    def backlog_seconds(self) -> Column:
        """Return the prefill that is before the request at each candidate."""
        return backlog_seconds(self.promised, self.promises.model.rates)

    @property
    def own_seconds(self) -> Column:
        """Return its own prefill at each candidate."""
        return own_seconds(self.work, self.promised, self.promises.model.rates)

    def narrowed(self, keep: NDArray[np.bool_]) -> Prospect:
        """Return what is so of the candidates that *keep* marks. Shape: [candidates]."""
        work = msgspec.structs.replace(self.work, uncached_tokens=self.work.uncached_tokens[keep])
        promised = Promised(self.promised.rows[:, keep], self.promised.any_blocked)
        return Prospect(work, promised, self.promises, self.slots[keep])


def prospect(request: Request, facts: Facts, promises: Promises, slots: NDArray[np.intp]) -> Prospect:
    """Return what *request* would be to its candidates. Shape of *slots*: [candidates]."""
    tokens = max(1, request.prompt_tokens)
    output = 0.0 if request.generation is not None else promises.model.output_tokens(request.served_model)
    work = Work(tokens, tokens - facts.matched_tokens, output)
    return Prospect(work, promises.promised(slots, facts.now), promises, slots)


def priced(request: Request, facts: Facts, prospect: Prospect, oldest_use: NDArray[np.float64]) -> Facts:
    """Return *facts* with what *request* costs at each candidate. Shape of *oldest_use*: [slots]."""
    work, promised, promises, slots = prospect.work, prospect.promised, prospect.promises, prospect.slots
    model = promises.model
    if (
        len(facts.adapters)
        and (seconds := _adapter_seconds(request, facts, model.decode_seconds)) is not None
    ):
        work = msgspec.structs.replace(work, further={"adapter": seconds})
    if request.generation is not None:
        ahead, takes = promises.generating.price(slots, request.generation, facts.now)
        further = {**work.further, "generate_backlog": ahead, "generate": takes}
        work = msgspec.structs.replace(work, further=further)
    if facts.fetches and request.generation is None:
        facts, found = _fetching(facts, work, promised, model)
    else:
        found = price(work, promised, model.rates, model.decode_seconds)
    own = found.own if request.generation is None else found.own + takes
    return msgspec.structs.replace(
        facts, cost=found.total, own_cost=own, costs=found.terms, oldest_use=oldest_use[slots]
    )


def _fetching(facts: Facts, work: Work, promised: Promised, model: WorkModel) -> tuple[Facts, Price]:
    """Return the price where each candidate fetches what it had better not compute, and *facts* with what that is."""
    loads = []
    for each in facts.fetches:
        # The last token is always computed: its output is what the next one is sampled from.
        tokens = np.maximum(np.minimum(each.tokens, work.prompt_tokens - 1.0) - facts.matched_tokens, 0.0)
        seconds = (each.latency_seconds + each.seconds_per_token * tokens) * (tokens > 0.0)
        loads.append(Load(tokens, seconds))
    found, chosen = cheapest(work, loads, promised, model.rates, model.decode_seconds)
    fetched = np.choose(chosen + 1, [np.zeros(len(chosen)), *(load.tokens for load in loads)])
    return msgspec.structs.replace(facts, fetched=chosen, fetched_tokens=fetched), found


def fetched(facts: Facts, index: int) -> Fetched | None:
    """Return what the candidate *index* is counted on to fetch; None for nothing."""
    if not len(facts.fetched) or (chosen := facts.fetched.item(index)) < 0:
        return None
    fetch = facts.fetches[chosen]
    seconds, tokens = facts.costs[FETCH].item(index), int(facts.fetched_tokens[index])
    return Fetched(tokens, seconds, fetch.tier, fetch.peer)


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
    uncached = tokens - decision.matched_tokens - (decision.fetch.tokens if decision.fetch else 0)
    if request.generation is not None:
        promises.generating.send(decision.id, slot, request.generation, decision.decided_at)
    promises.send(decision.id, slot, tokens, uncached, decision.decided_at, stream=request.stream)
