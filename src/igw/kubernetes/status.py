"""Writes what is claimed of objects into their status, and tells what is wrong as Events: when, how often, and what if it is refused.

What a status becomes is `conditions`' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import httpx2
import msgspec
import structlog

from igw.kubernetes.client import Refused, ask, patch, permission
from igw.kubernetes.conditions import READY, Claim
from igw.kubernetes.electing import wall
from igw.kubernetes.events import Events
from igw.kubernetes.kinds import EVENTS, Kind
from igw.kubernetes.objects import Failure

log = structlog.get_logger("kubernetes")


class Rate(msgspec.Struct, frozen=True):
    """How often is written, in seconds."""

    between: float = 0.05
    """Between any two requests, so 20 in a second at most."""
    object: float = 1.0
    """Between two writes of one object."""
    words: float = 10.0
    """The same where only messages changed, such as counts."""
    longest: float = 300.0
    """Waits after failures, and where somebody else undoes our writes, double up to this."""


class Turns:
    """When an object may be written again. No I/O and no clock: *now* is in seconds."""

    def __init__(self, rate: Rate, random: Callable[[], float]) -> None:
        self._rate = rate
        self._random = random
        self._claim: Claim | None = None
        """The last one that was written."""
        self._last = -math.inf
        self._not_before = -math.inf
        self._failures = 0

    def wait_seconds(self, claim: Claim, now: float) -> float:
        """Return how long to wait with *claim*; infinity while we have not heard of our own write yet."""
        last = self._claim
        if last is not None and (last.version, last.conditions) == (claim.version, claim.conditions):
            return math.inf
        due = self._not_before
        if claim.only_words:
            due = max(due, self._last + self._rate.words)
        return max(0.0, due - now)

    def done(self, claim: Claim, now: float) -> None:
        """Take that *claim* was written. If it was before, somebody undid it, and is given way to."""
        undone = self._claim is not None and self._claim.gist == claim.gist and not claim.only_words
        self._failures = self._failures + 1 if undone and now - self._last <= 2 * self._rate.longest else 0
        self._claim, self._last = claim, now
        self._not_before = now + self._backoff(self._rate.object)

    def failed(self, failure: Failure, now: float) -> None:
        """Take that a write was refused."""
        self._failures += 1
        conflict = failure.status == httpx2.codes.CONFLICT  # the watch tells what there is now, any moment
        wait = self._backoff(self._rate.object * (0.1 if conflict else 1.0))
        self._not_before = now + max(wait * (0.5 + self._random()), failure.retry_after_seconds)

    def _backoff(self, seconds: float) -> float:
        return min(self._rate.longest, seconds * 2.0 ** min(self._failures, 30))


class Counts(msgspec.Struct):
    """How it went, since the start, by resource."""

    written: Counter[str] = msgspec.field(default_factory=Counter)
    refused: Counter[str] = msgspec.field(default_factory=Counter)


class Writer:
    """Makes what *claims* gives true on the API server while *leads* says that it is our business. Set `changed` when it may be another."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        claims: Callable[[], Iterable[Claim]],
        leads: Callable[[], bool],
        events: Events,
        rate: Rate | None = None,
    ) -> None:
        self.changed = asyncio.Event()
        self.counts = Counts()
        self._http = http
        self._claims = claims
        self._leads = leads
        self._events = events
        self._rate = rate or Rate()
        self._turns: dict[tuple[Kind, str, str], Turns] = {}
        self._trouble: dict[str, tuple[int, str]] = {}
        """Resource -> HTTP status and object of what was said last, until it goes well with that object."""

    async def run(self) -> None:
        """Write until cancelled. Nothing that a server does ends it."""
        while True:
            self.changed.clear()
            wait = await self._write_what_is_due() if self._leads() else math.inf
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait if wait < math.inf else None):
                    await self.changed.wait()
            await asyncio.sleep(self._rate.between)

    async def _write_what_is_due(self) -> float:
        """Return when something will be due again, in seconds."""
        claims = {(each.kind, each.key, each.uid): each for each in self._claims()}
        self._turns = {which: turns for which, turns in self._turns.items() if which in claims}
        due = math.inf
        for which, claim in claims.items():
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if (status := claim.written(stamp)) is None:
                continue
            turns = self._turns.setdefault(which, Turns(self._rate, random.random))
            wait = turns.wait_seconds(claim, time.monotonic())
            if wait > 0.0:
                due = min(due, wait)
                continue
            if not self._leads():
                return math.inf
            due = min(due, await self._write(claim, status, turns))
            await asyncio.sleep(self._rate.between)
        return due

    async def _write(self, claim: Claim, status: dict[str, object], turns: Turns) -> float:
        resource = claim.kind.resource
        change = {"metadata": {"resourceVersion": claim.version}, "status": status}
        try:
            await patch(self._http, f"{claim.kind.path(claim.namespace)}/{claim.name}/status", change)
        except Refused as refused:
            turns.failed(refused.failure, time.monotonic())
            self.counts.refused[resource] += 1
            cure = permission("verb patch", f"{claim.kind.plural}/status", claim.kind.group)
            self._say("status_not_written", resource, claim, refused.failure, cure)
            return turns.wait_seconds(claim, time.monotonic())
        turns.done(claim, time.monotonic())
        self.counts.written[resource] += 1
        self._well(resource, claim)
        if _is_news(claim):
            await self._tell(claim)
        return math.inf

    async def _tell(self, claim: Claim) -> None:
        telling = self._events.tell(claim, claim.ready, time.monotonic(), wall())
        if telling is None:
            return
        path = EVENTS.path(telling.namespace)
        try:
            if telling.again:
                await patch(self._http, f"{path}/{telling.name}", telling.body)
            else:
                await ask(self._http, "POST", path, telling.body)
        except Refused as refused:
            self._events.forget(telling.name)
            self.counts.refused[EVENTS.resource] += 1
            cure = permission("verbs create and patch", EVENTS.plural, EVENTS.group)
            self._say("event_not_written", EVENTS.resource, claim, refused.failure, cure)
        else:
            self.counts.written[EVENTS.resource] += 1
            self._well(EVENTS.resource, claim)

    def _well(self, resource: str, claim: Claim) -> None:
        if self._trouble.get(resource, (0, ""))[1] == claim.key:
            del self._trouble[resource]

    def _say(self, event: str, resource: str, claim: Claim, failure: Failure, cure: str) -> None:
        """Say once what is wrong; that somebody else was faster, or an object is gone, is not."""
        mild = failure.status in (httpx2.codes.CONFLICT, httpx2.codes.NOT_FOUND)
        if mild or self._trouble.get(resource, (0, ""))[0] == failure.status:
            return
        self._trouble[resource] = failure.status, claim.key
        hint = cure if failure.status == httpx2.codes.FORBIDDEN else "it is tried again"
        log.warning(
            event,
            resource=resource,
            object=claim.key,
            status=failure.status,
            problem=failure.message,
            hint=hint,
        )


def _is_news(claim: Claim) -> bool:
    """Return whether *claim* says for the first time that something is wrong, or something else than before; counts are no news."""
    now = claim.ready
    if now.status != "False":
        return False
    old = next((each for each in claim.said if each["type"] == READY), {})
    known = (old.get("status"), old.get("reason")) == (now.status, now.reason)
    edited = old.get("observedGeneration") != claim.generation and old.get("message") != now.message
    return not known or edited
