"""Output other than text: what was promised of it to each endpoint and is not done, and how long it takes there, as learned.

Told of dispatches and ends; knows no clock. Text is in `promises` and `model`; how much a request asks for is read in `parsing`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from igw.facts import Column
from igw.request import Generation
from igw.work.cost import MOST_DONE

FIRST_GUESS_SECONDS = {"image": 0.2, "video": 0.2, "audio": 0.1, "transcript": 0.01}
"""Per unit, until the first one has ended. Images: FLUX.1 [dev] in 16 bits takes 6.2 s for 30 steps of a megapixel on an RTX 4090. The
others are guesses of the order."""
_LEAST_SECONDS = 0.1
"""By that guess: a request for less counts as that much, because a server takes some time for any. Without it one for next to nothing would
teach that a unit takes for ever."""
_POOL_MEMORY, _ENDPOINT_MEMORY = 100.0, 25.0
"""Ends after which little of one is left in what is learned. An endpoint forgets as its pool goes on, not only by ends of its own: one that
was slow once, and is shunned for it, passes for one like the others in time, and is tried again."""
_DOUBT = 2.0
"""Ends of mean length that it takes to believe half of what an endpoint's own say of it."""
_KNOWN, _SURPRISE = 5.0, 3.0
"""Once so many ends of a kind were seen, one that took more than this many times what was promised to its endpoint counts as that late."""

_KINDS = tuple(FIRST_GUESS_SECONDS)
_UNITS, _OLDEST = slice(0, len(_KINDS)), slice(len(_KINDS), 2 * len(_KINDS))
_SINCE, _SECONDS, _EXPECTED, _SEEN = range(2 * len(_KINDS), 2 * len(_KINDS) + 4)
"""Rows of the state: units promised and those of the oldest request, by kind; since when that is being made; what the endpoint took and
what the pool would have taken, as of so many ends of the pool."""


class Generating:
    """Owner of what the endpoints of a pool were promised, by slot, and of the learned seconds per unit.

    A server is taken to do one thing after the other. Where it does several at once, an end is counted from the one before it, so that
    what is learned is how fast work gets done there, which is what those that come later wait for.
    """

    def __init__(self) -> None:
        # By slot, in the order of dispatch: kind, units, when.
        self._inflight: dict[int, dict[int, tuple[int, float, float]]] = {}
        self._slot_of: dict[int, int] = {}
        self._last_end: dict[int, float] = {}
        self._state: NDArray[np.float64] = np.zeros((_SEEN + 1, 0))
        self._rates: NDArray[np.float64] = np.array([*FIRST_GUESS_SECONDS.values()])
        self._took = np.zeros((3, len(_KINDS)))  # seconds, units and ends by kind: sums that forget
        self._ends = 0
        self._mean = 0.0  # seconds that the pool expects of an end

    def send(self, number: int, slot: int, asked: Generation, now: float) -> None:
        """Note that request *number* goes to the endpoint of *slot*."""
        self._grow(slot)
        self._inflight.setdefault(slot, {})[number] = _KINDS.index(asked.kind), _units(asked), now
        self._slot_of[number] = slot
        self._write(slot)

    def end(self, number: int, now: float, e2e_seconds: float | None) -> None:
        """Note that a request is over, and learn from it if it was answered whole, after *e2e_seconds*."""
        slot = self._slot_of.pop(number, None)
        if slot is None:
            return
        promised, last_end = self.promised(slot), self._last_end.get(slot, 0.0)
        kind, units, sent_at = self._inflight[slot].pop(number)
        ended = now if e2e_seconds is None else min(now, sent_at + e2e_seconds)
        if e2e_seconds is not None:
            took = max(0.0, ended - max(sent_at, last_end))
            if self._took[2, kind] >= _KNOWN:
                took = min(took, _SURPRISE * promised)
            self._learn(slot, kind, units, took)
        self._last_end[slot] = max(last_end, ended)
        self._write(slot)

    def drop(self, slot: int) -> None:
        """Forget the endpoint of *slot* and how fast it was."""
        for number in self._inflight.pop(slot, ()):
            del self._slot_of[number]
        self._last_end.pop(slot, None)
        self._state[:, slot : slot + 1] = 0.0

    def price(self, slots: NDArray[np.intp], asked: Generation, now: float) -> tuple[Column, Column]:
        """Return the seconds of what is ahead of *asked* at each of *slots*, and of itself. Shapes: [slots]."""
        self._grow(int(slots.max(initial=0)))
        state, rates = self._state.take(slots, axis=1), self._rates
        factors = self._factors(state)
        done = np.minimum(MOST_DONE * factors * (rates @ state[_OLDEST]), now - state[_SINCE])
        takes = self.seconds_per_unit(asked.kind) * _units(asked)
        return factors * (rates @ state[_UNITS]) - done, takes * factors

    def seconds_per_unit(self, kind: str) -> float:
        """Return what the pool takes for one unit of *kind*, one of `FIRST_GUESS_SECONDS`."""
        return float(self._rates[_KINDS.index(kind)])

    def factor(self, slot: int) -> float:
        """Return how much longer than the pool the endpoint of *slot* takes; 1 where nothing is known."""
        self._grow(slot)
        return float(self._factors(self._state[:, slot]))

    def promised(self, slot: int) -> float:
        """Return the seconds of what the endpoint of *slot* was promised, all of it."""
        if not self._inflight.get(slot):
            return 0.0
        return self.factor(slot) * float(self._rates @ self._state[_UNITS, slot])

    def kinds(self) -> Iterator[tuple[str, float]]:
        """Yield every kind of which something has ended, and what the pool takes for one unit."""
        for name, rate, ends in zip(_KINDS, self._rates.tolist(), self._took[2].tolist(), strict=True):
            if ends:
                yield name, rate

    def _factors(self, state: NDArray[np.float64]) -> Column:
        doubt = _DOUBT * self._mean or 1.0
        left = self._left(state[_SEEN])
        factors: Column = (left * state[_SECONDS] + doubt) / (left * state[_EXPECTED] + doubt)
        return factors

    def _left(self, seen: Column) -> Column:
        left: Column = np.exp((seen - self._ends) / (_ENDPOINT_MEMORY * max(1, len(self._inflight))))
        return left

    def _learn(self, slot: int, kind: int, units: float, took: float) -> None:
        sums = self._took[:, kind]
        sums *= 1.0 - 1.0 / _POOL_MEMORY
        sums += took / self.factor(slot), units, 1.0
        self._rates[kind] = max(sums[0] / sums[1], FIRST_GUESS_SECONDS[_KINDS[kind]] / 1e3)
        expected = float(self._rates[kind]) * units
        self._ends += 1
        self._mean += (expected - self._mean) / min(self._ends, _POOL_MEMORY)
        own = self._state[_SECONDS : _EXPECTED + 1, slot]
        own *= self._left(self._state[_SEEN, slot])
        own += took, expected
        self._state[_SEEN, slot] = self._ends

    def _write(self, slot: int) -> None:
        """Write what the endpoint of *slot* was promised; counted anew, so that no rest stays of what is over."""
        state, inflight = self._state[:, slot], self._inflight[slot]
        state[: _SINCE + 1] = 0.0
        for kind, units, _ in inflight.values():
            state[kind] += units
        if inflight:
            kind, units, sent_at = next(iter(inflight.values()))
            state[_OLDEST.start + kind] = units
            state[_SINCE] = max(sent_at, self._last_end.get(slot, 0.0))

    def _grow(self, slot: int) -> None:
        slots = self._state.shape[1]
        if slot >= slots:
            self._state = np.hstack((self._state, np.zeros((_SEEN + 1, max(8, 2 * slot) - slots))))


def _units(asked: Generation) -> float:
    return max(asked.units, _LEAST_SECONDS / FIRST_GUESS_SECONDS[asked.kind])
