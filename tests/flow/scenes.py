"""A readable scenario in, its full trace out: a pool of endpoints with slots around the engine.

    pool a=1 b=2                      endpoints and their slots; `pool` alone: none
    0 arrive r1 flow=x priority=1     also lane=a|b need=2 (slots) work=3 bytes=10 tokens=100 output=5 cached=50 ttl=5 until=9 ttft=1 weight=2
    1 end r1                          also uncached=90 output=7
    2 first r1                        its first token; likewise cancel r1, changed, expire, stop

The trace has a line per effect: time, request, what became of it.
"""

from __future__ import annotations

from typing import Any

from igw.flow.api import (
    Dispatched,
    Effect,
    Evicted,
    EvictInFlight,
    Failed,
    Item,
    Placed,
    Refusal,
    Rejected,
    Turn,
    Weight,
)
from igw.flow.engine import Engine
from igw.flow.settings import Settings


class Pool:
    """Endpoints with slots; what is taken is taken in the moment it is asked for."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.taken: dict[int, tuple[str, int]] = {}
        self.asked = 0

    def used(self, endpoint: str) -> int:
        """Return how many of its slots are taken."""
        return sum(need for where, need in self.taken.values() if where == endpoint)

    def saturation(self, endpoints: list[str] | None = None) -> float:
        """Return the share of slots that is taken; 1 for no endpoints."""
        among = list(self.slots) if endpoints is None else endpoints
        slots = sum(self.slots[each] for each in among)
        return sum(self.used(each) for each in among) / slots if slots else 1.0


class Claim:
    """One request's wishes."""

    def __init__(self, pool: Pool, item: Item, **wishes: str) -> None:
        self.pool = pool
        self.item = item
        self.need = int(wishes.get("need", "1"))
        self.work = float(wishes.get("work", "1"))
        self.uncached = float(wishes.get("tokens", "0")) - float(wishes.get("cached", "0"))
        self.cached = float(wishes.get("cached", "0"))
        self.output = float(wishes.get("output", "0"))
        self.broken = "broken" in wishes

    def candidates(self) -> list[str]:
        """Return the endpoints of its lane."""
        lane = str(self.item.lane)
        return [each for each in self.pool.slots if lane in ("", "all") or each in lane.split("|")]

    def full(self, candidates: list[str], turn: Turn) -> bool:
        """Return whether the ceiling is reached, which is lower by the slots that are kept for others."""
        slots = sum(self.pool.slots[each] for each in candidates)
        kept = min(turn.kept_share, turn.kept / slots) if slots else 0.0
        return self.pool.saturation(candidates) >= turn.ceiling - kept

    def place(self, turn: Turn, /) -> Placed | Refusal:
        """Take the emptiest."""
        self.pool.asked += 1
        if self.broken:
            raise LookupError("nowhere")
        candidates = self.candidates()
        if self.full(candidates, turn):
            return Refusal.FULL
        closed = turn.closed[: len(candidates) // 2]
        fitting = [
            each
            for each in candidates
            if each not in closed and self.pool.slots[each] - self.pool.used(each) >= self.need
        ]
        if not fitting:
            return Refusal.UNFIT
        best = min(fitting, key=self.pool.used)
        self.pool.taken[self.item.id] = (best, self.need)
        return Placed(best, self.uncached, self.output)

    def room(self, turn: Turn, /) -> float:
        """Return the slots that are free where most are."""
        candidates = self.candidates()
        if self.full(candidates, turn):
            return 0.0
        return max(self.pool.slots[each] - self.pool.used(each) for each in candidates)

    def weigh(self) -> Weight:
        """Return what was written."""
        return Weight(self.work, self.need)

    def matched_tokens(self) -> float:
        """Return what was written."""
        return self.cached

    def cheapest(self) -> str | None:
        """Return the first large enough."""
        return next((each for each in self.candidates() if self.pool.slots[each] >= self.need), None)


class Scene:
    """One scenario while it runs."""

    def __init__(self, settings: Settings) -> None:
        self.pool = Pool()
        self.engine = Engine(settings, self.pool.saturation, endpoints=0)
        self.trace: list[str] = []

    def play(self, text: str) -> str:
        """Carry out *text*; return the trace."""
        for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
            first, *rest = line.split()
            if first == "pool":
                self.note(0.0, self.set_pool(rest, 0.0))
            else:
                self.note(float(first), self.do(float(first), *rest))
        return "\n".join(self.trace)

    def set_pool(self, written: list[str], now: float) -> list[Effect]:
        """Change the endpoints."""
        self.pool.slots = {name: int(slots) for name, _, slots in (each.partition("=") for each in written)}
        return self.engine.pool_changed(len(self.pool.slots), now)

    def do(self, now: float, what: str, *rest: str) -> list[Effect]:
        """Carry out one line."""
        if what == "pool":
            return self.set_pool(list(rest), now)
        request = int(rest[0].lstrip("r")) if rest else 0
        words: dict[str, Any] = dict(each.partition("=")[::2] for each in rest[1:])
        if what == "arrive":
            item = self.item(request, words, now)
            return self.engine.arrive(item, Claim(self.pool, item, **words), now)
        if what == "end":
            self.pool.taken.pop(request, None)
            usage = {f"{key}_tokens": float(value) for key, value in words.items()}
            self.engine.ended(request, now, **usage)
            return self.engine.changed(now)
        if what == "first":
            self.engine.first_token(request)
            return self.engine.changed(now)
        if what == "cancel":
            return self.engine.cancel(request, now)
        return {"changed": self.engine.changed, "expire": self.engine.expire, "stop": self.engine.stop}[what](
            now
        )

    @staticmethod
    def item(request: int, words: dict[str, str], now: float) -> Item:
        """Return the item that *words* describe."""
        return Item(
            id=request,
            flow=words.get("flow", "x"),
            priority=int(words.get("priority", "0")),
            lane=words.get("lane", "all"),
            size_bytes=int(words.get("bytes", "1")),
            prompt_tokens=int(words.get("tokens", "0")),
            received_at=now,
            ttl_seconds=float(words["ttl"]) if "ttl" in words else None,
            deadline=float(words["until"]) if "until" in words else None,
            ttft_objective_seconds=float(words["ttft"]) if "ttft" in words else None,
            weight=float(words.get("weight", "1")),
        )

    def note(self, now: float, effects: list[Effect]) -> None:
        """Write down what followed."""
        for effect in effects:
            self.trace.append(f"{now:g} r{effect.id} {described(effect)}")


def described(effect: Effect) -> str:
    """Return *effect* in words."""
    if isinstance(effect, Dispatched):
        return f"-> {effect.decision}" + (
            f" after {effect.waited_seconds:g}" if effect.waited_seconds else ""
        )
    if isinstance(effect, Rejected):
        return str(effect.outcome) + (
            f", back in {effect.retry_after_seconds}" if effect.retry_after_seconds else ""
        )
    if isinstance(effect, Evicted):
        return f"{effect.outcome} after {effect.waited_seconds:g}"
    if isinstance(effect, Failed):
        return f"failed: {effect.error}"
    assert isinstance(effect, EvictInFlight)
    return "given up"


def play(text: str, settings: Settings | None = None) -> str:
    """Return the trace of *text*."""
    return Scene(settings or Settings()).play(text)


def trace(text: str) -> str:
    """Return an expected trace without its indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
