"""Tells a cluster what is true of its objects: who of the replicas does it, and what it needs to see for that.

What is true is `verdicts`' business; how it is written that of `igw.kubernetes`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping

import httpx2
import msgspec
from prometheus_client.core import Metric

from igw.discovery.cluster import ClusterView
from igw.discovery.observed import reports
from igw.discovery.verdicts import claims
from igw.kubernetes.conditions import Claim
from igw.kubernetes.electing import Elector
from igw.kubernetes.events import Events
from igw.kubernetes.kinds import SERVICES, Kind
from igw.kubernetes.leases import Election, Timing
from igw.kubernetes.mirror import Mirror, Pace
from igw.kubernetes.objects import Service, Stored, service
from igw.kubernetes.reflector import Reflector, Selection
from igw.kubernetes.status import Rate, Writer


class ReportSettings(msgspec.Struct, frozen=True):
    """Who reports."""

    identity: str
    """This replica, unlike any other."""
    lease: str = ""
    """Name of the Lease that the leader holds; empty: there is no election, this replica reports."""
    timing: Timing = Timing()
    rate: Rate = Rate()


class Reporting:
    """Keeps the status of *view*'s objects true; *mirrors* have them as the API server does."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        view: ClusterView,
        mirrors: Mapping[Kind, Mirror[Stored]],
        settings: ReportSettings,
        pace: Pace,
    ) -> None:
        self._view = view
        self._mirrors = mirrors
        self._known = asyncio.Event()
        self._events = Events(settings.identity)
        namespace = view.scope.namespace
        self._elector: Elector | None = None
        if settings.lease:
            election = Election(settings.identity, random.random, settings.timing)
            self._elector = Elector(http, settings.lease, namespace, election, self._turned)
        self._writer = Writer(http, self._claims, self._leads, self._events, settings.rate)
        self._services: Reflector[Service] | None = None
        if view.scope.standing is None:
            selection = Selection(SERVICES, namespace)
            self._services = Reflector(http, selection, service, self._changed, pace=pace)

    @property
    def reflectors(self) -> list[Reflector[Service]]:
        """What is followed besides what pools are made of."""
        return [self._services] if self._services is not None else []

    def look(self) -> None:
        """Take that something may have changed, and that all that is needed to judge is known."""
        self._known.set()
        self._writer.changed.set()

    async def run(self) -> None:
        """Report until cancelled, and then leave it to others."""
        async with asyncio.TaskGroup() as group:
            for each in self.reflectors:
                group.create_task(each.run())
            if self._elector is not None:
                group.create_task(self._elector.run())
            await self._known.wait()
            for each in self.reflectors:
                await each.settled.wait()
            await self._writer.run()

    def collect(self) -> Iterable[Metric]:
        """Yield who leads, and how writing does."""
        return reports(self._writer.counts, self._events.dropped, leads=self._leads())

    def _leads(self) -> bool:
        return self._elector is None or self._elector.leads()

    def _turned(self) -> None:
        self._writer.changed.set()

    def _changed(self, _changes: Mapping[str, Service | None]) -> None:
        self._writer.changed.set()

    def _claims(self) -> Iterable[Claim]:
        services: Mapping[str, Service] | None = None
        if self._services is not None and self._services.mirror.listed:
            services = self._services.mirror.objects
        stored = {kind: mirror.objects for kind, mirror in self._mirrors.items()}
        return claims(self._view, stored, services)
