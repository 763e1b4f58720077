"""Keeps the decisions of the last minutes in bounded memory, by id and by `x-request-id`. What a record says is `explanation`."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from weakref import WeakKeyDictionary

import msgspec

from igw.decision import Decision
from igw.errors import NobodyLeft, Rejected
from igw.explaining.record import Asked, Names, Record, Refusal, asked, picked, refused
from igw.explaining.regret import hindsight
from igw.explaining.settings import Settings
from igw.outcomes.outcome import Outcome
from igw.request import Request
from igw.routing.claims import Claim, View
from igw.routing.router import Scheduling
from igw.scheduling.scheduler import Choice

EVERY = 50
"""Of decisions with costs, one in so many is looked at again when it has ended."""
_REGRET_SECONDS = 1.0
"""And not more than one within this time: it takes a look at all that is in flight."""
_REFUSALS_SHARE = 0.25
"""Of the memory: a storm of refusals must not push decisions out."""
_SHORTEST_PART = 6
"""Characters of an id that are enough if nothing else begins so."""
_LOOKED_AT = 2_000
"""Of the latest decisions, for an id that is nearly right."""
_MOST_DIGITS = 20
REFUSED = "refused-"
"""How ids of requests that got no decision begin."""


class Kept(msgspec.Struct, frozen=True):
    """How much there is."""

    decisions: int
    refusals: int
    size_bytes: int
    oldest_seconds: float
    """Age of the oldest; 0 where there is nothing."""


class NotKept(LookupError):
    """Nothing is known by that id: what it was, and what comes near."""

    def __init__(self, key: str, nearest: Iterable[str], why: str) -> None:
        self.nearest = tuple(nearest)
        hint = f"; the nearest is {' or '.join(self.nearest)}" if self.nearest else ""
        super().__init__(f"no decision {key!r}{hint}: {why}")


class Turned(msgspec.Struct, frozen=True):
    """Who was turned away by a queue."""

    asked: Asked
    waited_seconds: float
    waiting: int


class _Ring:
    """Records, oldest first, and how much memory they take."""

    def __init__(self, size_bytes: float) -> None:
        self.records: deque[Record] = deque()
        self.size_bytes = 0
        self.most_bytes = size_bytes


class Recorder:
    """Owner of the records."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        scheduler: Callable[[], Scheduling],
        inflight: Callable[[], Iterable[Decision]],
        regretted: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """Take the clock of decisions, what decides now, which decisions have not ended, and who is told of regrets, in seconds."""
        self._settings = settings
        self._clock = clock
        self._scheduler = scheduler
        self._inflight = inflight
        self._regretted = regretted
        self._picked = _Ring(settings.size_bytes * (1.0 - _REFUSALS_SHARE))
        self._refused = _Ring(settings.size_bytes * _REFUSALS_SHARE)
        self._by_id: dict[int, Record] = {}
        self._turned: WeakKeyDictionary[Rejected, Turned] = WeakKeyDictionary()
        self._names: Names = ((), ())
        self._next_regret_at = -math.inf
        self._refusals = 0

    # Told of ----------------------------------------------------------------------------------------------------

    def made(self, claim: Claim, view: View, choice: Choice, decision: Decision) -> None:
        """Keep a decision (`igw.routing.router.Watcher`)."""
        record = picked(claim, view, choice, decision, self._scheduler())
        if record.names == self._names:
            record.names = self._names  # one of them is enough
        self._names = record.names
        if record.names[1] and not record.id % EVERY and record.decided_at >= self._next_regret_at:
            self._next_regret_at = record.decided_at + _REGRET_SECONDS
            record.ahead = self._ahead(record)
            record.size_bytes += sum([8 * len(each) for each in record.ahead])
        self._keep(record, self._picked)

    def ended(self, decision: Decision, outcome: Outcome) -> None:
        """Keep how a decision went (ledger listener)."""
        record = self._by_id.get(decision.id)
        if record is None:
            return
        if outcome.served_by and outcome.served_by == decision.delivery.address:
            outcome = msgspec.structs.replace(outcome, served_by="")  # a rank of the picked one
        record.outcome, record.ended_at = outcome, self._clock()
        if record.ahead:
            found = hindsight(record)
            record.ahead = ()
            if found is not None:
                record.hindsight = found.costs
                self._regretted(found.seconds)

    def turned_away(self, rejected: Rejected, turned: Turned) -> None:
        """Take what a queue knows of a request for which `refused` is about to be called."""
        self._turned[rejected] = turned

    def refused(self, request: Request | None, rejected: Rejected) -> None:
        """Keep a request that got an error of ours instead of a pick; None for one that could not be read, which says why itself."""
        if request is None:
            return
        turned = self._turned.pop(rejected, None)
        who = asked(request, request.head.pool) if turned is None else turned.asked
        self._refusals += 1
        refusal = Refusal(
            rejected.status,
            rejected.code,
            str(rejected.reason),
            rejected.message,
            rejected.queue_outcome,
            turned.waiting if turned is not None else 0,
            rejected.left_out if isinstance(rejected, NobodyLeft) else {},
        )
        waited = turned.waited_seconds if turned is not None else 0.0
        record = refused(-self._refusals, who, self._clock(), waited, refusal)
        record.scheduler = self._scheduler()
        self._keep(record, self._refused)

    # Asked for --------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Record:
        """Return the decision of that id, the latest of that `x-request-id`, or the only one whose id begins so.

        Raises:
            NotKept: there is none.
        """
        self._forget(self._clock())
        record = self._by_id.get(_number(key))
        if record is None:  # a person asks: to keep a table for that would cost every request something
            record = next((each for each in self._all() if each.asked.request_id == key), None)
        if record is None and len(key) >= _SHORTEST_PART:
            found = [each for each in self._all() if _begins(each, key)]
            record = found[0] if len(found) == 1 else None
        if record is None:
            raise NotKept(key, self._nearest(key), self._what_is_kept())
        return record

    def latest(self, most: int, before: str = "") -> list[Record]:
        """Return *most* records, the latest first; older ones than the record *before*, if that is given.

        Raises:
            NotKept: *before* is unknown.
        """
        self._forget(self._clock())
        records: Iterable[Record] = self._all()
        if before:
            last = self.find(before).decided_at
            records = (record for record in records if record.decided_at < last)
        return list(islice(records, most))

    def kept(self) -> Kept:
        """Return how much there is."""
        now = self._clock()
        self._forget(now)
        rings = (self._picked, self._refused)
        oldest = min([ring.records[0].decided_at for ring in rings if ring.records], default=now)
        return Kept(
            len(self._picked.records),
            len(self._refused.records),
            sum(ring.size_bytes for ring in rings),
            now - oldest,
        )

    # Keeping ----------------------------------------------------------------------------------------------------

    def _keep(self, record: Record, ring: _Ring) -> None:
        self._by_id[record.id] = record
        records = ring.records
        records.append(record)
        ring.size_bytes += record.size_bytes
        oldest = record.decided_at - self._settings.seconds
        while records[0].decided_at < oldest or ring.size_bytes > ring.most_bytes:
            self._drop(ring)
            if not records:
                break

    def _forget(self, now: float) -> None:
        """Drop what is too old."""
        for ring in (self._picked, self._refused):
            while ring.records and ring.records[0].decided_at < now - self._settings.seconds:
                self._drop(ring)

    def _drop(self, ring: _Ring) -> None:
        record = ring.records.popleft()
        ring.size_bytes -= record.size_bytes
        del self._by_id[record.id]
        record.ahead = ()  # else one that somebody still holds would keep those before it

    def _ahead(self, record: Record) -> tuple[tuple[Record, ...], ...]:
        """Return what is in flight at each candidate that is shown."""
        there: dict[str, list[Record]] = {record.candidates[index].hostport: [] for index in record.shown}
        for decision in self._inflight():
            found, where = self._by_id.get(decision.id), there.get(decision.endpoint.hostport)
            if found is not None and where is not None:
                where.append(found)
        return tuple([tuple(each) for each in there.values()])

    # Finding ----------------------------------------------------------------------------------------------------

    def _all(self) -> Iterator[Record]:
        """Return every record, the latest first."""
        return heapq.merge(
            reversed(self._picked.records), reversed(self._refused.records), key=_age, reverse=True
        )

    def _nearest(self, key: str) -> list[str]:
        known: dict[str, None] = {}
        for record in islice(self._all(), _LOOKED_AT):
            known[name_of(record)] = None
            if record.asked.request_id:
                known[record.asked.request_id] = None
        return get_close_matches(key, known, 2, 0.5)

    def _what_is_kept(self) -> str:
        kept = self.kept()
        if not kept.decisions + kept.refusals:
            return "no request has come within the time that is kept (`--explain-minutes`)"
        return (
            f"{kept.decisions + kept.refusals} are kept, of the last {kept.oldest_seconds:.0f} s "
            "(`--explain-minutes`, `--explain-bytes`); `igw explain` without an id lists them"
        )


def name_of(record: Record) -> str:
    """Return the id of *record* as it is told and asked for."""
    return str(record.id) if record.id >= 0 else f"{REFUSED}{-record.id}"


def _number(key: str) -> int:
    """Return the id that *key* is, 0 for none: no decision has that."""
    digits = key.removeprefix(REFUSED)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _MOST_DIGITS:
        return 0
    return int(digits) if digits == key else -int(digits)


def _age(record: Record) -> float:
    return record.decided_at


def _begins(record: Record, key: str) -> bool:
    return record.asked.request_id.startswith(key) or name_of(record).startswith(key)
