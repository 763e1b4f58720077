"""Explaining as one part of a picker: builds what keeps and tells decisions, and puts it around what decides. Off, nothing of it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric

from igw.errors import Rejected
from igw.explaining.ceiling import Ceiling
from igw.explaining.pages import Pages
from igw.explaining.queues import ExplainedQueues
from igw.explaining.recorder import Recorder
from igw.explaining.settings import Settings
from igw.explaining.telling import Route, telling
from igw.outcomes.ledger import Ledger
from igw.prefix.index import PrefixIndex
from igw.request import Request
from igw.routing.holding import Around
from igw.routing.router import Router
from igw.telemetry.families import Families

Refused = Callable[[Request | None, Rejected], None]


class Explaining:
    """Owner of the recorder, which whoever shows decisions may ask (`explanation.line` and `explained` say what a record is)."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        ledger: Ledger,
        prefix: PrefixIndex,
        families: Families,
        clock: Callable[[], float],
    ) -> None:
        """Take what decides, what tells of ends, and the clock of both."""
        self._settings = settings
        self._clock = clock
        regret = families.decision_regret_seconds.observe
        self.recorder = Recorder(
            settings, self._clock, lambda: router.scheduler, ledger.open_decisions, regret
        )
        families.collect_with(self._collect)
        if not settings.off:
            router.watchers = (*router.watchers, self.recorder.made, Ceiling(prefix, families).made)
            ledger.listen(self.recorder.ended)

    def around(self, queues: Around) -> Around:
        """Return *queues*, which tell of those that they turn away."""
        return queues if self._settings.off else ExplainedQueues(queues, self.recorder, self._clock)

    def refusing(self, refused: Refused) -> Refused:
        """Return what is told of requests that got an error: *refused*, and what keeps them."""
        if self._settings.off:
            return refused
        keep = self.recorder.refused

        def both(request: Request | None, rejected: Rejected) -> None:
            refused(request, rejected)
            keep(request, rejected)

        return both

    def route(self, route: Route) -> Route:
        """Return *route*, whose decisions are told to clients that ask, if they may."""
        settings = self._settings
        return telling(route, self.recorder) if settings.header and not settings.off else route

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the pages over HTTP."""
        return Pages(self.recorder, self._clock).routes()

    def _collect(self) -> Iterable[Metric]:
        kept = self.recorder.kept()
        decisions = GaugeMetricFamily(
            "igw_explained_decisions",
            "Decisions and refusals that are kept for explanations.",
            labels=("result",),
        )
        decisions.add_metric(("picked",), kept.decisions)
        decisions.add_metric(("refused",), kept.refusals)
        yield decisions
        yield GaugeMetricFamily(
            "igw_explained_bytes", "Memory that they take, as it is accounted.", value=kept.size_bytes
        )
