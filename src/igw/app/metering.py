"""What a picker measures of its requests: the families, who writes them, and how both follow the configuration. What is measured is the rooms' business."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from prometheus_client.core import Metric

from igw.app.settings import PickerSettings
from igw.config.manifests import Manifests
from igw.discovery import snapshot
from igw.endpoint import Pool
from igw.errors import Rejected
from igw.extproc.observed import Exchanges
from igw.extproc.server import ExtProc
from igw.outcomes.attainment import Attainment
from igw.outcomes.observed import RequestMetrics
from igw.payload.chain import base_models
from igw.request import Request
from igw.routing.objectives import asked
from igw.routing.observed import Picks
from igw.telemetry.exposition import Gauge
from igw.telemetry.families import Families
from igw.telemetry.older import older


class Metering:
    """Owner of the families, and of those who write them by request."""

    def __init__(self, settings: PickerSettings, clock: Callable[[], float]) -> None:
        self.families = families = Families()
        self.requests = RequestMetrics(families)
        self.attainment = Attainment(families, clock, lambda request: asked(request, {}))
        self.picks = Picks(families, self.requests)
        self._settings = settings
        self._clock = clock
        families.collect_with(self.attainment.collect, _info)
        if settings.older_metrics:
            families.registry.also(older)

    def plugin_failed(self, kind: str, name: str, reason: str) -> None:
        """Count what a plugin failed by."""
        self.families.plugin_failures_total.labels(kind, name, reason).inc()

    def refused(self, request: Request | None, rejected: Rejected) -> None:
        """Count a request that got an error of ours."""
        self.requests.refused(request, rejected)
        self.attainment.refused(request, rejected)

    def follow(self, extproc: ExtProc) -> None:
        """Measure what passes through *extproc*, and exchanges themselves where that is asked for."""
        extproc.piece = self.requests.piece
        extproc.answered_after = self.families.response_processing_duration_seconds.observe
        if self._settings.stream_metrics:
            extproc.around = Exchanges(self.families, self._clock).measured

    def use(self, manifests: Manifests, pools: Mapping[str, Pool]) -> None:
        """Go by *manifests* and *pools* from now on: objectives, models whose names are theirs, endpoints that there are."""
        self.attainment.use(snapshot.slos(manifests), pools)
        self.picks.serve(endpoint for pool in pools.values() for endpoint in pool.endpoints)
        models = {name for each in manifests.rewrites for name in each.models}
        models.update(base_models(manifests.adapter_maps))
        self.families.request_labels.know("configuration", models)


def _info() -> Iterable[Metric]:
    info = Gauge("llm_d_epp_info", "Which build this is.", ("commit", "build_ref"))
    info.add(("", version("igw")), 1)
    yield info.metric
