"""One priority: its flows, what they have waiting in which lane, and whose turn it is. Asking for places is `engine`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import islice, takewhile

import msgspec

from igw.flow.api import Fairness, Item, Ordering
from igw.flow.fairness.virtual_token_counter import VirtualTokenCounter
from igw.flow.flows import Flow, Held, Line
from igw.flow.heap import Heap
from igw.flow.ordering.shortest_work import ShortestWork
from igw.flow.room import leaves_room, within

_IDLE_SECONDS = 300.0
_MOST_IDLE = 10_000
"""Flows that have nothing here are forgotten after this time, or when there are more."""

_KEPT_UP = 16
"""Keys that move with time are computed anew for so many of the first lines, and so many others, in each turn."""


class BandSettings(msgspec.Struct, frozen=True):
    """Limits and policies of one priority."""

    max_bytes: int = 1_000_000_000
    max_requests: int = 5_000
    fairness: Fairness = VirtualTokenCounter()
    ordering: Ordering = ShortestWork()
    minimum_share: float = 0.0
    """Share of the work that it gets even if higher bands could use all of it; 0: strict priority."""


class Band:
    """Queues of one priority. O(log n) per operation in the number of its requests and flows."""

    def __init__(self, priority: int, settings: BandSettings) -> None:
        self.priority = priority
        self.settings = settings
        self.shares = settings.fairness.turns()
        self.ordering = settings.ordering
        self.flows: dict[str, Flow] = {}
        self.lanes: dict[Hashable, Heap[Line]] = {}
        """Only those in which something waits, in which lines are by whose turn it is."""
        self.waiting = 0
        self.waiting_bytes = 0
        self.inflight = 0
        self.idle_since = 0.0
        self.credit = 0.0
        """Work that its minimum share entitles it to and that it has not had, in tokens."""
        self._kept_up = 0
        self._idle: OrderedDict[str, Flow] = OrderedDict()

    def has_room(self, item: Item) -> bool:
        """Return whether *item* may wait here: the band is not full, and its flow leaves room for others."""
        settings, flow = self.settings, self.flows.get(item.flow)
        bytes_, requests = settings.max_bytes, settings.max_requests
        if not (within(self.waiting_bytes, item.size_bytes, bytes_) and within(self.waiting, 1, requests)):
            return False
        if flow is None or not self.shares.leaves_room:
            return True
        return leaves_room(flow.waiting_bytes, self.waiting_bytes, bytes_) and leaves_room(
            flow.waiting, self.waiting, requests
        )

    def flow_of(self, item: Item, now: float) -> Flow:
        """Return the flow of *item*, which now wants something."""
        flow = self.flows.get(item.flow)
        if flow is None:
            self._forget_idle(now)
            flow = self.flows[item.flow] = Flow(item.flow)
            flow.idle_since = now
            self._idle[item.flow] = flow
        flow.weight = item.weight
        if flow.waiting == 0:
            self.shares.joined(flow, now)
        return flow

    def settle(self, flow: Flow, now: float) -> None:
        """Note whether *flow* has anything here; whoever has not is forgotten some time later."""
        if flow.waiting or flow.inflight:
            self._idle.pop(flow.id, None)
        elif flow.id not in self._idle:
            flow.idle_since = now
            self._idle[flow.id] = flow

    def _forget_idle(self, now: float) -> None:
        while self._idle:
            oldest = next(iter(self._idle.values()))
            if now - oldest.idle_since < _IDLE_SECONDS and len(self._idle) < _MOST_IDLE:
                return
            del self._idle[oldest.id], self.flows[oldest.id]

    def add(self, held: Held, now: float) -> None:
        """Let *held* wait; its work and its end are known."""
        item, flow = held.item, self.flow_of(held.item, now)
        line = flow.lines.get(item.lane)
        if line is None:
            line = flow.lines[item.lane] = Line(flow)
        held.line = line
        line.entered += 1
        held.place_in_line = line.entered
        held.entry = line.items.push(self._rank(held), held, held.number)
        held.starves_at = self.ordering.starves_at(held.arrived_at, held.work_seconds)
        if self.ordering.overtakes:
            held.guarded = line.guard.push(held.starves_at, held, held.number)
        flow.waiting += 1
        flow.waiting_bytes += item.size_bytes
        self.waiting += 1
        self.waiting_bytes += item.size_bytes
        self._place(line, item.lane, now)
        self.settle(flow, now)

    def remove(self, held: Held, now: float) -> None:
        """Let *held* go, wherever it goes."""
        item, line, flow = held.item, held.line, held.line.flow
        line.items.remove(held.entry)
        if held.guarded is not None:
            line.guard.remove(held.guarded)
        line.gone += 1
        flow.waiting -= 1
        flow.waiting_bytes -= item.size_bytes
        self.waiting -= 1
        self.waiting_bytes -= item.size_bytes
        self._place(line, item.lane, now)
        self.settle(flow, now)

    def charged(self, flow: Flow, now: float) -> None:
        """Put the lines of *flow* where its counters now say."""
        for lane, line in flow.lines.items():
            self._place(line, lane, now)

    def _rank(self, held: Held) -> float:
        return self.ordering.rank(held.item, held.arrived_at, held.expires_at, held.work_seconds)

    def _place(self, line: Line, lane: Hashable, now: float) -> None:
        lines = self.lanes.get(lane)
        if lines is None:
            lines = self.lanes[lane] = Heap()
        if not len(line.items):
            if line.entry is not None:
                lines.remove(line.entry)
            del line.flow.lines[lane]
            if not len(lines):
                del self.lanes[lane]
            return
        key = self.shares.key(line.flow, line.head(now), now)
        if line.entry is None:
            line.entry = lines.push(key, line)
        elif line.entry[0] != key:
            lines.remove(line.entry)
            line.entry = lines.push(key, line)

    def in_turn(self, lane: Hashable, now: float) -> Iterator[Line]:
        """Yield the lines of *lane*, whose turn it is first. Nothing may be added or removed meanwhile."""
        lines, shares = self.lanes[lane], self.shares
        if shares.moves_with_time:
            self._keep_up(lines, lane, now)
        in_order = lines.in_order()
        if shares.lookahead:
            first = list(islice(in_order, shares.lookahead))
            rounds = [line.entry[0][0] if line.entry else 0.0 for line in first]
            even = [line for line, each in zip(first, rounds, strict=True) if each == rounds[0]]
            if len(even) > 1:
                even.sort(key=lambda line: -line.head(now).matched_tokens())
            yield from even
            yield from first[len(even) :]
        yield from in_order

    def _keep_up(self, lines: Heap[Line], lane: Hashable, now: float) -> None:
        """Compute anew the keys of the first lines, and of some others, which are all come to in turn."""
        first = list(islice(lines.in_order(), _KEPT_UP))
        some = lines.some(self._kept_up, _KEPT_UP) if len(lines) > _KEPT_UP else []
        self._kept_up += _KEPT_UP
        for line in (*first, *some):
            self._place(line, lane, now)

    def offers(self, line: Line, now: float, left: int) -> Iterator[Held]:
        """Yield the requests of *line* in the order in which they may be asked; *left*: how many have left so far."""
        yield from takewhile(lambda held: held.starves_at <= now, line.guard.in_order())
        if line.weighed_after != left and len(line.items) > 1:
            line.weighed_after = left
            self._weigh_again(line, left)
        for held in line.items.in_order():
            if held.guarded is None or held.starves_at > now:
                yield held

    def _weigh_again(self, line: Line, left: int) -> None:
        for held in list(islice(line.items.in_order(), self.ordering.refreshed)):
            held.weigh(left)
            rank = self._rank(held)
            if rank != held.entry[0]:
                line.items.remove(held.entry)
                held.entry = line.items.push(rank, held, held.number)
