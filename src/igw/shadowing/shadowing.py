"""Shadows as one part of a picker: decisions are looked at again after they were made, by policies that nobody follows.

Without shadows nothing of it is on the way of a request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric

from igw.config.documents import Document
from igw.config.manifests import Manifests
from igw.decision import Decision
from igw.discovery import files
from igw.outcomes.ledger import Ledger
from igw.outcomes.outcome import Outcome
from igw.routing.claims import Claim, View
from igw.routing.pools import Pools
from igw.routing.router import Router
from igw.scheduling.scheduler import Choice
from igw.shadowing.policy import Policy
from igw.shadowing.running import Moment, Running
from igw.shadowing.settings import Settings
from igw.shadowing.standing import Row
from igw.telemetry.families import Families

PATH = "/debug/shadow"
_MOST_WAITING = 16
"""Decisions that wait to be looked at; more at once are not."""
_MOST_CPU_SHARE = 0.05
"""Of the time: what is spent on shadows at the most, whatever share of the decisions they are to look at."""
_AHEAD_SECONDS = 0.5
"""So much of what the time to come allows may be spent at once: requests come in bursts."""


class Table(msgspec.Struct, frozen=True):
    """What `GET /debug/shadow` says."""

    share: float
    """Of decisions, how many are looked at."""
    skipped: int
    """Of those, how many were not, because too much time went into others."""
    shadows: list[Row]


class Shadowing:
    """Owner of the shadows."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        pools: Pools,
        ledger: Ledger,
        families: Families,
        clock: Callable[[], float],
    ) -> None:
        """Take what decides, what tells of ends, and the clock of both."""
        self._share = settings.share
        self._router = router
        self._clock = clock
        self._cpu = time.thread_time
        self._families = families
        self._shadows = [
            Running(each, families, allow_experimental=settings.allow_experimental)
            for each in settings.shadows
        ]
        self._active: Document | None = None
        self._waiting, self._skipped = 0, 0
        self._paid_until = -np.inf
        families.collect_with(self._collect)
        if self._shadows:
            router.keeps_promises = True
            router.watchers = (*router.watchers, self._made)
            ledger.listen(self._ended)
            pools.listen(self._left)

    def read(self) -> None:
        """Read every shadow's file.

        Raises:
            ConfigError: one that cannot be used.
        """
        for each in self._shadows:
            each.use(each.read(), self._clock())

    async def follow(self, stop: asyncio.Event) -> None:
        """Take over edits of the files until *stop* is set. One that cannot be used concerns its own shadow only."""
        async with asyncio.TaskGroup() as group:
            for each in self._shadows:
                adopt = partial(self._adopt, each)
                group.create_task(
                    files.watch((each.file,), adopt, each.refuse, stop, each.in_force, each.read)
                )

    def against(self, document: Document | None) -> None:
        """Note by which configuration requests are decided: whoever was compared with another one is counted anew."""
        if document != self._active:
            self._active = document
            for each in self._shadows:
                each.reset(self._clock())

    def page(self) -> bytes:
        """Return the table, as JSON."""
        active, now = self._router.plugins.by_name, self._clock()
        rows = [each.row(active, now) for each in self._shadows]
        return msgspec.json.encode(Table(self._share, self._skipped, rows))

    def _adopt(self, shadow: Running, manifests: Manifests) -> None:
        shadow.use(manifests, self._clock())

    # Told of ----------------------------------------------------------------------------------------------------

    def _made(self, claim: Claim, view: View, choice: Choice, decision: Decision) -> None:
        """Keep what a decision was made from, to be looked at once its request is on its way (`igw.routing.router.Watcher`)."""
        if random.random() >= self._share or not self._has_time(view.facts.now):
            self._tell(Policy.decided, decision)
            return
        view = self._router.costed(claim, view)
        assert view.prospect is not None  # noqa: S101 (so says `costed`)
        # The columns of the others go on living.
        facts = view.facts.narrowed(np.ones(len(view.endpoints), dtype=bool))
        moment = Moment(claim.request, facts, int(choice.picked[0]), decision, view.prospect.promises)
        self._waiting += 1
        loop = asyncio.get_running_loop()
        # Twice: a request that has waited goes on, and its reply is sent, in the turn between.
        loop.call_soon(loop.call_soon, self._look, moment)

    def _ended(self, decision: Decision, outcome: Outcome) -> None:
        self._tell(Policy.ended, decision, outcome)

    def _left(self, hostport: str) -> None:
        self._tell(Policy.left, hostport)

    def _tell(self, tell: Callable[..., None], *event: Any) -> None:
        for each in self._shadows:
            each.told(tell, *event)

    def _has_time(self, now: float) -> bool:
        has = self._waiting < _MOST_WAITING and self._paid_until - now <= _AHEAD_SECONDS
        if not has:
            self._skipped += 1
            self._families.shadow_skipped_total.inc()
        return has

    def _look(self, moment: Moment) -> None:
        self._waiting -= 1
        active, began = self._router.plugins.by_name, self._cpu()
        for each in self._shadows:
            each.look(moment, active, self._cpu)
        self._paid_until = max(self._paid_until, self._clock()) + (self._cpu() - began) / _MOST_CPU_SHARE

    def _collect(self) -> Iterable[Metric]:
        active = GaugeMetricFamily(
            "igw_shadow_active", "1 as long as a shadow policy decides, 0 once it failed.", labels=("policy",)
        )
        for each in self._shadows:
            active.add_metric((each.name,), 0.0 if each.off else 1.0)
        yield active
