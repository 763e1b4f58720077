"""What each endpoint was promised and has not done yet: requests in flight, in the order of their dispatch, and what they add up to.

Told of dispatches, first tokens, ends and scrapes; knows no clock. Where nobody tells of first tokens (the answer does not pass the
picker), they are presumed when the learned rates say so, and taken back when the engine says that it still has requests waiting.
"""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.work.cost import Promised
from igw.work.model import Observation, WorkModel

_SCRAPE_SECONDS = 0.03
"""How old a scrape is when it arrives: what was sent within that time is not in it."""

_NEVER = -math.inf

# Fields of the state, one column each.
_TOKENS, _PAIRS, _QUEUED, _SINCE, _OLDEST_TOKENS, _OLDEST_PAIRS, _INFLIGHT, _CONTEXT, _KV, _CAPACITY = range(
    10
)


class Sent:
    """One request in flight: what it brings, and what it found when it was sent."""

    __slots__ = (
        "ahead_pairs",
        "ahead_tokens",
        "context",
        "kv_usage",
        "pairs",
        "prompt",
        "running",
        "sent_at",
        "started",
        "tokens",
    )

    def __init__(self, prompt: float, tokens: float, sent_at: float) -> None:
        self.prompt = prompt
        self.tokens = max(1.0, tokens)
        self.pairs = prompt * prompt - (prompt - self.tokens) ** 2
        self.sent_at = sent_at
        self.started = False
        self.ahead_tokens = self.ahead_pairs = self.running = self.context = self.kv_usage = 0.0


class _Place:
    """The requests in flight at one endpoint."""

    __slots__ = ("due", "endpoint", "inflight", "kv_usage", "last_start", "pending", "scraped_at")

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.inflight: dict[int, Sent] = {}
        self.pending: dict[int, Sent] = {}
        """Those without a first token, oldest first."""
        self.last_start = _NEVER
        self.scraped_at = _NEVER
        self.kv_usage = 0.0
        self.due = math.inf
        """When the oldest is presumed to have its first token."""


class Promises:
    """Owner of the work promised to every endpoint, by slot (a small number that somebody else gives out)."""

    def __init__(self, model: WorkModel, *, presume: bool = True) -> None:
        self.model = model
        self._presume = presume
        self._places: dict[int, _Place] = {}
        self._slot_of: dict[int, int] = {}
        self._state: NDArray[np.float64] = np.zeros((0, 10))
        self._prefill: Column = np.ones(0)
        self._decode: Column = np.ones(0)
        self._next_due = math.inf

    def follow(self, slot: int, endpoint: str) -> None:
        """Keep promises of *endpoint* (`host:port`) in *slot*; nothing changes if it is there already."""
        if slot >= len(self._state):
            more = max(8, 2 * slot) - len(self._state)
            self._state = np.vstack((self._state, np.zeros((more, 10))))
            self._prefill = np.concatenate((self._prefill, np.ones(more)))
            self._decode = np.concatenate((self._decode, np.ones(more)))
        place = self._places.get(slot)
        if place is None or place.endpoint != endpoint:
            self.drop(slot)
            self._places[slot] = _Place(endpoint)
            self._take_factors(slot, endpoint)

    def drop(self, slot: int) -> None:
        """Forget the endpoint of *slot*; what was sent there ends without a trace."""
        place = self._places.pop(slot, None)
        if place is not None:
            for number in place.inflight:
                del self._slot_of[number]
            self._state[slot] = 0.0

    def send(self, number: int, slot: int, prompt_tokens: float, uncached_tokens: float, now: float) -> None:
        """Note that request *number* goes to *slot*."""
        place, state = self._places[slot], self._state[slot]
        sent = Sent(prompt_tokens, uncached_tokens, now)
        done = self._progress(slot, state, now) if place.pending else 0.0
        sent.ahead_tokens = state[_TOKENS] - done * state[_OLDEST_TOKENS]
        sent.ahead_pairs = state[_PAIRS] - done * state[_OLDEST_PAIRS]
        sent.running = state[_INFLIGHT] - state[_QUEUED] + 1
        sent.context = state[_CONTEXT] + prompt_tokens
        sent.kv_usage = place.kv_usage
        place.inflight[number] = place.pending[number] = sent
        self._slot_of[number] = slot
        state[_KV] += sent.tokens
        self._add_up(slot)

    def start(self, number: int, now: float) -> None:
        """Note the first token of a request."""
        slot = self._slot_of.get(number)
        if slot is not None:
            self._start(self._places[slot], number, now)
            self._add_up(slot)

    def end(
        self,
        number: int,
        now: float,
        ttft_seconds: float | None = None,
        e2e_seconds: float | None = None,
        output_tokens: int | None = None,
        uncached_share: float | None = None,
        model: str = "",
    ) -> None:
        """Note that a request is over, and learn from it if it was answered whole and its first token was seen.

        *uncached_share* is how much of its prompt the engine had to compute; without it, what was believed at dispatch.
        """
        slot = self._slot_of.pop(number, None)
        if slot is None:
            return
        place = self._places[slot]
        sent = place.inflight.pop(number)
        if place.pending.pop(number, None) is not None:
            place.last_start = now
        if sent.sent_at > place.scraped_at:
            self._state[slot, _KV] -= sent.tokens
        before = self._state[slot].tolist()
        self._add_up(slot)
        if ttft_seconds is None or e2e_seconds is None or output_tokens is None:
            return
        tokens = sent.tokens if uncached_share is None else max(1.0, sent.prompt * uncached_share)
        pairs = sent.prompt * sent.prompt - (sent.prompt - tokens) ** 2
        running = before[_INFLIGHT] - before[_QUEUED]
        self.model.learn(
            Observation(
                endpoint=place.endpoint,
                tokens=sent.ahead_tokens + tokens,
                pairs=sent.ahead_pairs + pairs,
                ttft_seconds=ttft_seconds,
                e2e_seconds=e2e_seconds,
                output_tokens=output_tokens,
                running=(sent.running + running) / 2,
                context_tokens=(sent.context + before[_CONTEXT]) / 2,
                kv_usage=sent.kv_usage,
                model=model,
            )
        )
        self._take_factors(slot, place.endpoint)

    def scraped(self, slot: int, waiting: float, kv_usage: float, capacity_tokens: float, now: float) -> None:
        """Take in what the engine of *slot* says of itself: requests waiting, share of KV memory in use, its size (0: unknown)."""
        place = self._places.get(slot)
        if place is None:
            return
        place.scraped_at, place.kv_usage = now - _SCRAPE_SECONDS, kv_usage
        state = self._state[slot]
        if capacity_tokens:
            state[_CAPACITY] = capacity_tokens
        late = [sent for sent in reversed(place.inflight.values()) if sent.sent_at > place.scraped_at]
        queued = list(
            islice(
                (s for s in reversed(place.inflight.values()) if s.sent_at <= place.scraped_at), int(waiting)
            )
        )
        state[_KV] = kv_usage * state[_CAPACITY] + sum(sent.tokens for sent in (*late, *queued))
        if self._presume and any(sent.started for sent in queued):
            for sent in queued:
                sent.started = False
            place.pending = {number: sent for number, sent in place.inflight.items() if not sent.started}
            place.last_start = now
            self._add_up(slot)

    def promised(self, slots: NDArray[np.intp], now: float) -> Promised:
        """Return what the endpoints of *slots* have to do at *now*. Shapes: [slots]."""
        if now >= self._next_due:
            self._settle(now)
        rows = self._state[slots].T
        return Promised(
            tokens=rows[_TOKENS],
            pairs=rows[_PAIRS],
            queued=rows[_QUEUED],
            done_seconds=now - rows[_SINCE],
            oldest_tokens=rows[_OLDEST_TOKENS],
            oldest_pairs=rows[_OLDEST_PAIRS],
            running=rows[_INFLIGHT] - rows[_QUEUED],
            context_tokens=rows[_CONTEXT],
            kv_tokens=rows[_KV],
            kv_capacity_tokens=rows[_CAPACITY],
            prefill_factor=self._prefill[slots],
            decode_factor=self._decode[slots],
        )

    def _settle(self, now: float) -> None:
        """Presume the first tokens that are due."""
        for slot, place in self._places.items():
            while place.due <= now:
                self._start(place, next(iter(place.pending)), place.due)
                self._add_up(slot)
        self._next_due = min((place.due for place in self._places.values()), default=math.inf)

    @staticmethod
    def _start(place: _Place, number: int, now: float) -> None:
        sent = place.pending.pop(number, None)
        if sent is not None:
            sent.started = True
            place.last_start = max(place.last_start, now)

    def _add_up(self, slot: int) -> None:
        """Write the state of *slot* anew from its requests."""
        place, state = self._places[slot], self._state[slot]
        pending = place.pending
        state[_TOKENS] = sum([sent.tokens for sent in pending.values()])
        state[_PAIRS] = sum([sent.pairs for sent in pending.values()])
        state[_QUEUED] = len(pending)
        state[_INFLIGHT] = len(place.inflight)
        state[_CONTEXT] = sum([sent.prompt for sent in place.inflight.values()])
        place.due = math.inf
        if not pending:
            state[_OLDEST_TOKENS] = state[_OLDEST_PAIRS] = 0.0
            return
        oldest = next(iter(pending.values()))
        state[_OLDEST_TOKENS], state[_OLDEST_PAIRS] = oldest.tokens, oldest.pairs
        state[_SINCE] = since = max(place.last_start, oldest.sent_at)
        if self._presume:
            place.due = since + self._seconds(slot, oldest.tokens, oldest.pairs)
            self._next_due = min(self._next_due, place.due)

    def _progress(self, slot: int, state: NDArray[np.float64], now: float) -> float:
        """Return which share of the oldest request's prefill is done, at most 0.9."""
        takes = self._seconds(slot, float(state[_OLDEST_TOKENS]), float(state[_OLDEST_PAIRS]))
        return min(0.9, max(0.0, now - float(state[_SINCE])) / takes) if takes else 0.9

    def _seconds(self, slot: int, tokens: float, pairs: float) -> float:
        rates = self.model.rates
        return float(self._prefill[slot]) * (rates.per_token * tokens + rates.per_pair * pairs)

    def _take_factors(self, slot: int, endpoint: str) -> None:
        self._prefill[slot], self._decode[slot] = self.model.factor(endpoint)
