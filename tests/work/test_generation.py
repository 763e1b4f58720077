"""Pictures and sound promised to servers in virtual time: rates are learned, slow ones get less, what is over is forgotten."""

from __future__ import annotations

import heapq
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igw.request import Generation
from igw.work.generation import FIRST_GUESS_SECONDS, Generating

PICTURE = Generation("image", 30.0)
ONE = np.arange(1)


class Servers:
    """Servers that take so many seconds per unit, one request after the other, and a stream of requests for the cheapest of them."""

    def __init__(self, seconds_per_unit: list[float], seed: int = 1, *, kind: str = "image") -> None:
        self.generating = Generating()
        self.seconds_per_unit = seconds_per_unit
        self._random = random.Random(seed)
        self._kind = kind
        self._now = 0.0
        self._free = [0.0] * len(seconds_per_unit)
        self._ends: list[tuple[float, int, float]] = []
        self._number = 0

    def serve(self, requests: int, load: float) -> list[float]:
        """Return the share of each server in the work of so many requests, which come at random at *load* of what all can do."""
        slots, units = np.arange(len(self._free)), [0.0] * len(self._free)
        gap = 30.0 / sum(1 / each for each in self.seconds_per_unit) / load
        for _ in range(requests):
            self._now += self._random.expovariate(1 / gap)
            self._tell()
            asked = Generation(self._kind, self._random.choice([7.0, 14.0, 30.0, 39.0, 60.0]))
            ahead, own = self.generating.price(slots, asked, self._now)
            slot = int((ahead + own).argmin())
            self._number += 1
            self.generating.send(self._number, slot, asked, self._now)
            self._free[slot] = max(self._free[slot], self._now) + asked.units * self.seconds_per_unit[slot]
            heapq.heappush(self._ends, (self._free[slot], self._number, self._now))
            units[slot] += asked.units
        return [each / sum(units) for each in units]

    def _tell(self) -> None:
        while self._ends and self._ends[0][0] <= self._now:
            ended, number, sent_at = heapq.heappop(self._ends)
            self.generating.end(number, ended, ended - sent_at)


@pytest.mark.parametrize("scale", [0.01, 0.2, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_server_of_half_the_speed_gets_less(scale: float, seed: int) -> None:
    """Of four: near its half share where all are needed, and next to nothing where they are not, whatever was guessed at first."""
    servers = Servers([scale, scale, scale, 2 * scale], seed)
    servers.serve(400, 0.9)
    shares = servers.serve(2000, 0.95)
    assert shares[3] == pytest.approx(1 / 7, abs=0.025)
    assert max(shares[:3]) - min(shares[:3]) < 0.03
    assert servers.generating.factor(3) / servers.generating.factor(0) == pytest.approx(2.0, abs=0.4)
    assert servers.serve(2000, 0.3)[3] < 0.05


def test_equal_servers_share_alike() -> None:
    """Nobody is shunned for noise."""
    servers = Servers([0.2] * 4)
    servers.serve(300, 0.9)
    assert servers.serve(2000, 0.95) == pytest.approx([0.25] * 4, abs=0.02)


def test_a_server_that_recovers_gets_its_share_again() -> None:
    """Also if it was so slow that it was hardly asked any more."""
    servers = Servers([0.2, 0.2, 0.2, 2.0])
    assert servers.serve(1000, 0.9)[3] < 0.08
    servers.seconds_per_unit[3] = 0.2
    servers.serve(600, 0.8)
    assert servers.serve(1000, 0.8)[3] > 0.15


def test_what_a_unit_takes_is_learned_from_the_first_end() -> None:
    """However far off the guess was; kinds have a rate each."""
    generating = Generating()
    assert generating.seconds_per_unit("image") == FIRST_GUESS_SECONDS["image"]
    generating.send(1, 0, PICTURE, 100.0)
    generating.end(1, 160.0, 60.0)
    assert generating.seconds_per_unit("image") == pytest.approx(2.0)
    assert generating.seconds_per_unit("audio") == FIRST_GUESS_SECONDS["audio"]
    assert dict(generating.kinds()) == {"image": pytest.approx(2.0)}


def test_what_is_ahead_grows_less_while_it_is_made() -> None:
    """By the time since the last end, but not below a tenth of the oldest: it has not ended yet."""
    generating = Generating()
    for number in (1, 2):
        generating.send(number, 0, PICTURE, 10.0)
    takes = 30.0 * FIRST_GUESS_SECONDS["image"]
    for now, ahead in ((10.0, 2 * takes), (12.0, 2 * takes - 2.0), (1000.0, 1.1 * takes)):
        found, own = generating.price(ONE, PICTURE, now)
        assert found == pytest.approx([ahead])
        assert own == pytest.approx([takes])
    generating.end(1, 16.0, None)
    assert generating.price(ONE, PICTURE, 17.0)[0] == pytest.approx([takes - 1.0])
    assert generating.promised(0) == pytest.approx(takes)


def test_several_at_once_are_learned_as_work_done() -> None:
    """Four that run together for eight seconds are done at two seconds each."""
    generating, now, number = Generating(), 0.0, 0
    for _ in range(50):
        batch = range(number, number + 4)
        for each in batch:
            generating.send(each, 0, PICTURE, now)
        for each in batch:
            generating.end(each, now + 8.0, 8.0)
        number, now = number + 4, now + 8.0
    assert generating.seconds_per_unit("image") * generating.factor(0) == pytest.approx(2.0 / 30.0, rel=0.05)


def test_one_for_next_to_nothing_does_not_make_a_unit_dear() -> None:
    """A file of one byte takes as long as its way: it counts as a tenth of a second's work, by the guess."""
    generating = Generating()
    generating.send(1, 0, Generation("transcript", 1e-4), 0.0)
    generating.end(1, 0.2, 0.2)
    assert generating.seconds_per_unit("transcript") == pytest.approx(0.02)


def test_who_did_not_answer_whole_teaches_nothing() -> None:
    """Its work is no longer promised, and the next one begins where it ended."""
    generating = Generating()
    generating.send(1, 0, PICTURE, 0.0)
    generating.send(2, 0, PICTURE, 1.0)
    generating.end(1, 100.0, None)
    assert not dict(generating.kinds())
    generating.end(2, 103.0, 102.0)
    assert generating.seconds_per_unit("image") == pytest.approx(0.1)
    assert generating.promised(0) == 0.0


def test_one_that_hung_does_not_count_whole() -> None:
    """It is three times what was promised there at most, once the kind is known."""
    servers = Servers([0.2] * 2)
    servers.serve(200, 0.5)
    generating = servers.generating
    generating.send(-1, 0, PICTURE, 1e6)
    generating.end(-1, 2e6, 1e6)
    assert generating.factor(0) < 2.0
    assert generating.seconds_per_unit("image") < 0.3


def test_an_endpoint_that_leaves_takes_everything_with_it() -> None:
    """What was sent there ends without a trace; another in its slot is like the others."""
    generating = Generating()
    for number in range(9):
        generating.send(number, number % 2, PICTURE, 0.0)
    for number in range(4):
        generating.end(number, 6.0 + number, 6.0 + number)
    generating.drop(1)
    generating.end(5, 99.0, 99.0)
    assert generating.promised(1) == 0.0
    assert generating.factor(1) == 1.0
    assert generating.price(np.array([1]), PICTURE, 99.0)[0].tolist() == [0.0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "end", "abort", "drop"]),
            st.integers(0, 5),
            st.sampled_from(sorted(FIRST_GUESS_SECONDS)),
            st.floats(0.0, 1e6),
            st.floats(0.0, 1e4),
        ),
        max_size=60,
    )
)
def test_prices_are_finite_whatever_happens(events: list[tuple[str, int, str, float, float]]) -> None:
    """Zero units, ends out of order, answers from before they were sent: never below 0, and nothing is left of what is over."""
    generating, now, sent = Generating(), 0.0, dict[int, int]()
    for number, (what, slot, kind, units, seconds) in enumerate(events):
        now += seconds / 10
        if what == "send":
            generating.send(number, slot, Generation(kind, units), now)
            sent[number] = slot
        elif what == "drop":
            generating.drop(slot)
            sent = {each: there for each, there in sent.items() if there != slot}
        elif sent:
            over = min(sent)
            del sent[over]
            generating.end(over, now, seconds if what == "end" else None)
        for column in generating.price(np.arange(6), Generation("image", 1.0), now):
            assert np.isfinite(column).all()
            assert (column >= 0).all()
    for number in sent:
        generating.end(number, now, None)
    assert sum(map(generating.promised, range(6))) == 0.0
    assert not generating._slot_of
