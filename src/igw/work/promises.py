"""What each endpoint was promised and has not done yet: requests in flight, in the order of their dispatch, and what they add up to.

Told of dispatches, first tokens, ends and scrapes; knows no clock. Where nobody tells of first tokens (the answer does not pass the
picker), they are presumed when the learned rates say so, and taken back when the engine says that it still has requests waiting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import heappop, heappush

import msgspec
import numpy as np
from numpy.typing import NDArray

from igw.work.cost import FIELDS, FULL, MOST_DONE, Promised
from igw.work.generation import Generating
from igw.work.model import Observation, WorkModel
from igw.work.seats import Seats

_SCRAPE_SECONDS = 0.03
"""How old a scrape is when it arrives: what was sent within that time is not in it."""
_PATIENCE, _GRACE_SECONDS = 2.0, 0.5
"""A request that the engine still has waiting after that many times its expected TTFT, and a little, waits for memory or a seat."""
_MEMORY_SHORT = 0.9
"""Where more KV memory than this is in use, that may be what requests wait for, and not a seat in the batch."""
_NEVER = -math.inf
_SINCE = FIELDS.index("done_seconds")


class Answer(msgspec.Struct, frozen=True):
    """What is known of a request that was answered whole."""

    e2e_seconds: float
    """From dispatch."""
    output_tokens: int = 0
    """0: not known."""
    ttft_seconds: float | None = None
    """From dispatch; None for an answer in one piece, whose first byte is its last."""
    uncached_share: float | None = None
    """How much of its prompt the engine had to compute; None: what was believed at dispatch."""
    model: str = ""


class EndpointWork(msgspec.Struct, frozen=True):
    """What is believed of one endpoint."""

    endpoint: str
    """Its `host:port`."""
    backlog_seconds: float
    """Prefill of requests without a first token, all of it."""
    prefill_factor: float
    decode_factor: float
    generate_seconds: float
    """Output other than text that it was promised, all of it."""
    generate_factor: float


class _Sent:
    """One request in flight: what it brings, and what it found when it was sent."""

    __slots__ = (
        "ahead", "computed_pairs", "computed_tokens", "context", "done", "expected_seconds", "kv_usage", "pairs", "prompt",
        "running", "sent_at", "started_at", "tokens", "watched",
    )  # fmt: skip

    def __init__(self, prompt: float, tokens: float, sent_at: float, *, watched: bool) -> None:
        self.prompt = prompt
        self.tokens = max(1.0, tokens)
        self.pairs = prompt * prompt - (prompt - self.tokens) ** 2
        self.sent_at = sent_at
        self.watched = watched  # somebody will tell of its first token
        self.started_at = math.inf  # its first token, presumed or told
        self.ahead: tuple[_Sent, ...] = ()  # those without a first token then, oldest first
        self.done = 0.0  # which share of the oldest was computed
        self.expected_seconds = self.running = self.context = self.kv_usage = 0.0
        self.computed_tokens = self.computed_pairs = 0.0  # of the endpoint, when this one got its first token


class _Place:
    """The requests in flight at one endpoint. Sums are of whole numbers, so adding and taking away leaves no rest."""

    __slots__ = (
        "blocked", "capacity", "computed_pairs", "computed_tokens", "context", "decode", "due", "endpoint", "inflight", "kv",
        "kv_usage", "last_start", "late", "pairs", "pending", "prefill", "scraped_at", "seated", "seats", "tokens",
    )  # fmt: skip

    def __init__(self, endpoint: str, factors: tuple[float, float]) -> None:
        self.endpoint = endpoint
        self.prefill, self.decode = factors
        self.inflight: dict[int, _Sent] = {}
        self.pending: dict[int, _Sent] = {}  # those without a first token, oldest first
        self.tokens = self.pairs = self.context = 0.0
        self.computed_tokens = self.computed_pairs = 0.0  # of all that had their first token here, ever
        self.kv = self.kv_usage = self.capacity = 0.0
        self.last_start = self.scraped_at = _NEVER
        self.due = math.inf  # when the oldest is presumed to have its first token
        self.blocked = 0.0  # requests that the engine had waiting for something other than prefill
        self.late = 0  # sent since
        self.seated = 1.0  # requests that had a seat in the batch then
        self.seats = Seats()

    def add(self, number: int, sent: _Sent) -> None:
        self.inflight[number] = self.pending[number] = sent
        self.tokens += sent.tokens
        self.pairs += sent.pairs
        self.context += sent.prompt
        self.kv += sent.tokens
        self.late += 1

    def start(self, number: int, now: float) -> None:
        sent = self.pending.pop(number, None)
        if sent is not None:
            sent.started_at = now
            self.last_start = max(self.last_start, now)
            self._move(sent, -1.0)
            sent.computed_tokens, sent.computed_pairs = self.computed_tokens, self.computed_pairs

    def take_back(self, waiting: list[_Sent], now: float) -> None:
        """Believe that *waiting* have no first token after all."""
        for sent in waiting:
            if sent.started_at < math.inf:
                sent.started_at = math.inf
                self._move(sent, 1.0)
        self.pending = {number: sent for number, sent in self.inflight.items() if sent.started_at == math.inf}
        self.last_start = now

    def held(self) -> float:
        """Return the tokens of context there: generated ones are known from KV memory only, shared ones from prompts only."""
        return max(self.context, self.kv)

    def _move(self, sent: _Sent, sign: float) -> None:
        self.tokens += sign * sent.tokens
        self.pairs += sign * sent.pairs
        self.computed_tokens -= sign * sent.tokens
        self.computed_pairs -= sign * sent.pairs


class Promises:
    """Owner of the work promised to every endpoint of a pool, by slot (a small number that somebody else gives out)."""

    def __init__(self, model: WorkModel | None = None) -> None:
        self.model = model or WorkModel()
        self.generating = Generating()
        """What was promised beside text; the slots are the same."""
        self._places: dict[int, _Place] = {}
        self._slot_of: dict[int, int] = {}
        self._state: NDArray[np.float64] = np.zeros((len(FIELDS), 0))
        # A heap; what no longer holds is dropped when its time comes.
        self._dues: list[tuple[float, int]] = []
        self._watched = False  # whether somebody tells of first tokens
        # Slots whose engine has requests waiting for something other than prefill.
        self._blocked: set[int] = set()

    def adopt(self, endpoints: Mapping[int, str]) -> None:
        """Keep promises of exactly *endpoints* (slot -> `host:port`) from now on."""
        for slot in [known for known in self._places if known not in endpoints]:
            self.drop(slot)
        for slot, endpoint in endpoints.items():
            self.follow(slot, endpoint)

    def follow(self, slot: int, endpoint: str) -> None:
        """Keep promises of *endpoint* (`host:port`) in *slot*; nothing changes if it is there already."""
        slots = self._state.shape[1]
        if slot >= slots:
            self._state = np.hstack((self._state, np.zeros((len(FIELDS), max(8, 2 * slot) - slots))))
        known = self._places.get(slot)
        if known is None or known.endpoint != endpoint:
            self.drop(slot)
            self._places[slot] = place = _Place(endpoint, self.model.factor(endpoint))
            self._write(slot, place)

    def seat(self, slot: int, seats: int) -> None:
        """Take it from somebody who knows how many requests the batch of *slot* holds; 0: it has to be found out."""
        place = self._places[slot]
        place.seats.give(seats)
        self._write(slot, place)

    def drop(self, slot: int) -> None:
        """Forget the endpoint of *slot* and how fast it was; what was sent there ends without a trace."""
        place = self._places.pop(slot, None)
        if place is not None:
            for number in place.inflight:
                del self._slot_of[number]
            self._state[:, slot] = 0.0
            self._blocked.discard(slot)
            self.generating.drop(slot)
            self.model.forget(place.endpoint)

    def send(
        self,
        number: int,
        slot: int,
        prompt_tokens: int,
        uncached_tokens: int,
        now: float,
        *,
        stream: bool = True,
    ) -> None:
        """Note that request *number* goes to *slot*; *stream*: its first token can be seen before its last."""
        place = self._places[slot]
        sent = _Sent(float(prompt_tokens), float(uncached_tokens), now, watched=stream and self._watched)
        sent.ahead, sent.done = tuple(place.pending.values()), self._done(place, now)
        rates, (tokens, pairs) = self.model.rates, _ahead(sent)
        pairs, tokens = pairs + sent.pairs, tokens + sent.tokens
        prefill = rates.per_token * tokens + rates.per_pair * pairs
        sent.expected_seconds = rates.overhead + place.prefill * prefill
        sent.running = float(len(place.inflight) - len(place.pending) + 1)
        sent.context = place.held() + sent.prompt
        sent.kv_usage = place.kv_usage
        self._slot_of[number] = slot
        place.add(number, sent)
        self._write(slot, place)

    def start(self, number: int, now: float) -> None:
        """Note the first token of a request; from then on those of others are waited for, not presumed."""
        self._watched = True
        slot = self._slot_of.get(number)
        if slot is not None:
            place = self._places[slot]
            place.inflight[number].watched = True
            place.start(number, now)
            self._write(slot, place)

    def end(self, number: int, now: float, answer: Answer | None = None) -> None:
        """Note that a request is over, and learn from its *answer*; None if it was not answered whole."""
        slot = self._slot_of.pop(number, None)
        if slot is None:
            return
        place = self._places[slot]
        sent = place.inflight[number]
        running, context = len(place.inflight) - len(place.pending), place.held()
        place.start(number, now)
        del place.inflight[number]
        place.context -= sent.prompt
        if sent.sent_at > place.scraped_at:
            place.kv -= sent.tokens
        if answer is not None:
            self._learn(place, sent, answer, (running, context))
        self._write(slot, place)

    def scraped(self, slot: int, waiting: float, kv_usage: float, capacity_tokens: float, now: float) -> None:
        """Take in what the engine of *slot* says of itself: requests waiting, share of KV memory in use, its size (0: unknown)."""
        place = self._places.get(slot)
        if place is None:
            return
        place.scraped_at, place.kv_usage = now - _SCRAPE_SECONDS, kv_usage
        place.capacity = capacity_tokens or place.capacity
        # Without data of its own it goes by what its like have taught meanwhile.
        place.prefill, place.decode = self.model.factor(place.endpoint)
        late: list[_Sent] = []
        queued: list[_Sent] = []
        for sent in reversed(place.inflight.values()):
            if sent.sent_at > place.scraped_at:
                late.append(sent)
            elif len(queued) < waiting:
                queued.append(sent)
            else:
                break
        place.kv = kv_usage * place.capacity + sum([sent.tokens for sent in (*late, *queued)])
        place.late = len(late)
        oldest = queued[-1] if queued else None
        patience = _PATIENCE * oldest.expected_seconds + _GRACE_SECONDS if oldest else math.inf
        overdue = oldest is not None and now - oldest.sent_at > patience
        place.blocked = waiting if overdue else 0.0
        place.seated = max(1.0, len(place.inflight) - waiting - len(late))
        place.seats.find(place.seated, now, full=overdue and kv_usage < _MEMORY_SHORT)
        (self._blocked.add if overdue else self._blocked.discard)(slot)
        if any(sent.started_at < math.inf and not sent.watched for sent in queued):
            place.take_back([sent for sent in queued if not sent.watched], now)
        self._write(slot, place)

    def next_due(self, now: float) -> float:
        """Return when the next first token will be presumed, infinity for none: then room may appear of which nobody tells."""
        self._presume(now)
        dues, places = self._dues, self._places
        while dues and not (dues[0][1] in places and places[dues[0][1]].due == dues[0][0]):
            heappop(dues)
        return dues[0][0] if dues else math.inf

    def promised(self, slots: NDArray[np.intp], now: float) -> Promised:
        """Return what the endpoints of *slots* have to do at *now*. Shapes: [slots]."""
        if self._dues and now >= self._dues[0][0]:
            self._presume(now)
        rows = self._state.take(slots, axis=1)
        rows[_SINCE] = now - rows[_SINCE]
        return Promised(rows, bool(self._blocked))

    def statistics(self) -> list[EndpointWork]:
        """Return what is believed of every endpoint."""
        return [
            EndpointWork(
                place.endpoint,
                self._seconds(place, place),
                place.prefill,
                place.decode,
                self.generating.promised(slot),
                self.generating.factor(slot),
            )
            for slot, place in self._places.items()
        ]

    def backlog_seconds(self) -> dict[str, float]:
        """Return by endpoint what it was promised, all of it: prefill, and output other than text."""
        other = self.generating.promised
        return {
            place.endpoint: self._seconds(place, place) + other(slot) for slot, place in self._places.items()
        }

    def _presume(self, now: float) -> None:
        """Take the first tokens that are due for given."""
        dues = self._dues
        while dues and dues[0][0] <= now:
            due, slot = heappop(dues)
            place = self._places.get(slot)
            if place is not None and place.due == due:
                place.start(next(iter(place.pending)), due)
                self._write(slot, place)

    def _learn(self, place: _Place, sent: _Sent, answer: Answer, at_end: tuple[int, float]) -> None:
        if answer.ttft_seconds is not None:
            sent.started_at = sent.sent_at + answer.ttft_seconds
        ahead_tokens, ahead_pairs = _ahead(sent)
        sent.ahead = ()  # they must not live longer than they have to
        share = answer.uncached_share
        tokens = sent.tokens if share is None else max(1.0, sent.prompt * share)
        kept = sent.prompt - tokens
        running, context = at_end
        self.model.learn(
            Observation(
                endpoint=place.endpoint,
                tokens=ahead_tokens + tokens,
                pairs=ahead_pairs + sent.prompt * sent.prompt - kept * kept,
                ttft_seconds=answer.ttft_seconds,
                e2e_seconds=answer.e2e_seconds,
                output_tokens=answer.output_tokens,
                running=(sent.running + running) / 2,
                context_tokens=(sent.context + context) / 2,
                kv_usage=sent.kv_usage,
                meanwhile_tokens=place.computed_tokens - sent.computed_tokens,
                meanwhile_pairs=place.computed_pairs - sent.computed_pairs,
                model=answer.model,
            )
        )
        place.prefill, place.decode = self.model.factor(place.endpoint)
        if answer.ttft_seconds is not None and not sent.watched:
            self._watched = False

    def _write(self, slot: int, place: _Place) -> None:
        """Write the state of *slot*, and when its oldest request is presumed to have its first token."""
        oldest_tokens = oldest_pairs = since = 0.0
        due = math.inf
        if place.pending:
            oldest = next(iter(place.pending.values()))
            oldest_tokens, oldest_pairs = oldest.tokens, oldest.pairs
            since = max(place.last_start, oldest.sent_at)
            if not oldest.watched:
                due = since + self._seconds(place, oldest)
        if due != place.due and due < math.inf:
            heappush(self._dues, (due, slot))
        place.due = due
        queued = len(place.pending)
        running = len(place.inflight) - queued
        blocked = place.blocked + place.late if place.blocked else 0.0
        turns = (blocked + 1) / place.seated if blocked else 0.0
        free = FULL * place.capacity - place.kv if place.capacity else math.inf
        # In the order of `FIELDS`; in the place of how long the oldest is computed stands since when.
        self._state[:, slot] = (
            place.tokens, oldest_tokens, place.pairs, oldest_pairs, queued, running, place.held(), since, free, place.prefill,
            place.decode, turns, blocked, place.kv, place.seats.most,
        )  # fmt: skip

    def _done(self, place: _Place, now: float) -> float:
        """Return which share of the oldest request without a first token is computed."""
        if not place.pending:
            return 0.0
        oldest = next(iter(place.pending.values()))
        takes = self._seconds(place, oldest)
        took = max(0.0, now - max(place.last_start, oldest.sent_at))
        return min(MOST_DONE, took / takes) if takes else MOST_DONE

    def _seconds(self, place: _Place, of: _Sent | _Place) -> float:
        rates = self.model.rates
        return place.prefill * (rates.per_token * of.tokens + rates.per_pair * of.pairs)


def _ahead(sent: _Sent) -> tuple[float, float]:
    """Return the tokens and pairs that were computed between the dispatch of *sent* and itself.

    At its dispatch: those that were believed to have no first token. At its end, better: by then it is known of most when they had it.
    """
    tokens = pairs = 0.0
    left = 1.0 - sent.done
    for each in sent.ahead:
        if each.started_at > sent.sent_at:
            tokens += left * each.tokens
            pairs += left * each.pairs
        left = 1.0
    return tokens, pairs
