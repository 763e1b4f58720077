"""Flow control by itself: dispatches per second of CPU in the shape of upstream's PerformanceMatrix, the cost of an idle pass, memory.

What a place costs to find is `picks`: here a claim is a counter of free slots. Upstream's workers are a closed loop of requests outstanding.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import tracemalloc
from collections import deque
from itertools import accumulate
from typing import Any

from benchmarks import looks
from igw.flow.api import Dispatched, Effect, Fairness, Item, Placed, Refusal, Turn, Weight
from igw.flow.band import BandSettings
from igw.flow.engine import Engine
from igw.flow.fairness.deficit_round_robin import DeficitRoundRobin
from igw.flow.fairness.dlpm import Dlpm
from igw.flow.fairness.global_strict import GlobalStrict
from igw.flow.fairness.program_aware import ProgramAware
from igw.flow.fairness.round_robin import RoundRobin
from igw.flow.fairness.virtual_token_counter import VirtualTokenCounter
from igw.flow.settings import Settings
from igw.flow.waiting import Waiting

_OUTSTANDING = 5_000
_SECONDS = 0.5


class Slots:
    """So many at once; no limit if none is given."""

    def __init__(self, limit: int) -> None:
        self.limit = limit or 10**9
        self.taken = 0

    def saturation(self) -> float:
        """Return the share that is taken."""
        return self.taken / self.limit


class Claim:
    """Takes a slot."""

    __slots__ = ("slots", "tokens")

    def __init__(self, slots: Slots, tokens: int) -> None:
        self.slots = slots
        self.tokens = tokens

    def place(self, _turn: Turn, /) -> Placed | Refusal:
        """Take one, or say that there is none."""
        if self.slots.taken >= self.slots.limit:
            return Refusal.FULL
        self.slots.taken += 1
        return Placed(None, self.tokens, 200.0)

    def room(self, _turn: Turn, /) -> float:
        """Say whether there is one."""
        return math.inf if self.slots.taken < self.slots.limit else 0.0

    def weigh(self) -> Weight:
        """Return its work by tokens."""
        return Weight(self.tokens / 10_000)

    def matched_tokens(self) -> float:
        """Know nothing."""
        return 0.0

    def cheapest(self) -> None:
        """Know nothing."""


def unlimited(fairness: Fairness | None = None) -> Settings:
    """Return settings that turn nobody away."""
    band = BandSettings(10**15, 10**9) if fairness is None else BandSettings(10**15, 10**9, fairness)
    return Settings(max_bytes=None, request_ttl_seconds=60, band=band)


class Load:
    """Requests of many flows, a few of which ask for most (Zipf 1.1), 100 bytes to 9 KB each."""

    def __init__(self, priorities: int, flows: int) -> None:
        self._number = random.Random(1)
        self._priorities = priorities
        self._flows = [f"flow {index}" for index in range(flows)]
        self._shares = list(accumulate(1 / rank**1.1 for rank in range(1, flows + 1)))

    def items(self, first: int, count: int) -> list[Item]:
        """Return the next ones."""
        number = self._number
        flows = number.choices(self._flows, cum_weights=self._shares, k=count)
        return [
            Item(first + index, flow, number.randrange(self._priorities), "", size, size // 4)
            for index, flow in enumerate(flows)
            for size in (number.randint(100, 9_000),)
        ]


def dispatches_per_second(limit: int, priorities: int, flows: int, fairness: Fairness | None = None) -> float:
    """Measure a closed loop: whenever one ends another comes, so that as many wait as are outstanding beyond the limit."""
    slots, load = Slots(limit), Load(priorities, flows)
    engine = Engine(unlimited(fairness), slots.saturation)
    running: deque[int] = deque()

    def note(effects: list[Effect]) -> None:
        running.extend(effect.id for effect in effects if isinstance(effect, Dispatched))

    came = 0
    for item in load.items(0, _OUTSTANDING):
        note(engine.arrive(item, Claim(slots, item.prompt_tokens), 0.0))
        came += 1
    spent = 0.0
    done = 0
    while spent < _SECONDS:
        batch = [(item, Claim(slots, item.prompt_tokens)) for item in load.items(came, 200)]
        began = time.process_time()
        for item, claim in batch:
            now = came * 1e-3
            slots.taken -= 1
            engine.ended(running.popleft(), now)
            note(engine.changed(now))
            note(engine.arrive(item, claim, now))
            came += 1
        spent += time.process_time() - began
        done += len(batch)
    return done / spent


async def _idle_microseconds() -> float:
    """Measure everything that flow control adds to a request that does not wait."""
    slots = Slots(0)
    waiting = Waiting(
        Engine(unlimited(), slots.saturation), time.monotonic, evict=lambda _: None, abandoned=lambda _: None
    )
    items = Load(1, 10).items(0, 50_000)
    began = time.process_time()
    for item in items:
        await waiting.place(item, Claim(slots, item.prompt_tokens))
        waiting.ended(item.id, output_tokens=100)
    return (time.process_time() - began) / len(items) * 1e6


def queued(count: int) -> dict[str, Any]:
    """Measure what waiting takes: memory beside the request and its body, one arrival, one cancellation."""
    slots = Slots(1)
    engine = Engine(unlimited(), slots.saturation)
    items = Load(1, 5_000).items(0, count + 1)
    claims = [Claim(slots, item.prompt_tokens) for item in items]
    tracemalloc.start()
    for item, claim in zip(items, claims, strict=True):
        engine.arrive(item, claim, 0.0)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    began = time.process_time()
    for item in items[1:]:
        engine.cancel(item.id, 1.0)
    cancel = (time.process_time() - began) / count * 1e6
    began = time.process_time()
    for item, claim in zip(items[1:], claims[1:], strict=True):
        engine.arrive(item, claim, 2.0)
    arrive = (time.process_time() - began) / count * 1e6
    return {
        "case": f"{count:,} queued, 5,000 flows",
        "bytes": size / count,
        "arrive_us": arrive,
        "cancel_us": cancel,
    }


def rows() -> list[dict[str, Any]]:
    """Measure all of it."""
    found: list[dict[str, Any]] = [
        {
            "case": f"limit {limit or 'none'}, {priorities} priorities, {flows:,} flows",
            "per_second": dispatches_per_second(limit, priorities, flows),
        }
        for limit in (0, 1, 100)
        for priorities in (1, 8)
        for flows in (10, 5_000)
    ]
    for fairness in (
        GlobalStrict(),
        RoundRobin(),
        VirtualTokenCounter(),
        DeficitRoundRobin(),
        Dlpm(),
        ProgramAware(),
    ):
        name = type(fairness).__name__
        found.append(
            {
                "case": f"limit 100, 5,000 flows, {name}",
                "per_second": dispatches_per_second(100, 1, 5_000, fairness),
            }
        )
    found.append({"case": "a request that does not wait", "us": asyncio.run(_idle_microseconds())})
    return [*found, *looks.rows(unlimited()), queued(50_000)]
