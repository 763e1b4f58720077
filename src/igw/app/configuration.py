"""What manifests ask of a picker: the file is resolved and its objects are built, and nothing of it is in force yet. That is `picker`'s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from igw.app.settings import PickerSettings
from igw.config.manifests import Manifests
from igw.endpoint import Pool
from igw.flow.saturation import Detector
from igw.flow.settings import Settings, wanted
from igw.parsing.api import Parser
from igw.parsing.registry import PARSERS
from igw.routing.rewrite_concerns import rewrite_concerns
from igw.scheduling import builtin, configured, printed
from igw.scheduling.concerns import Concern, concerns
from igw.scheduling.instances import Instances
from igw.scheduling.resolved import resolve
from igw.scheduling.scheduler import Scheduler
from igw.scraping.settings import Scraping
from igw.scraping.settings import configured as configured_scraping


class Configuration(msgspec.Struct, frozen=True):
    """How requests are to be decided."""

    scheduler: Scheduler
    parsers: tuple[Parser, ...]
    scraping: Scraping
    flow: Settings | None
    """How requests wait; None: they do not."""
    waits_when_empty: bool = False
    """Whether they wait for an endpoint of a pool that has none."""
    detector: Detector | None = None
    """What tells how full endpoints are, beside the room for work."""
    concerns: list[Concern] = []
    """What `igw check` would warn of."""
    source: str = ""
    """Where the `EndpointPickerConfig` was written; empty for the built-in default."""
    resolved: Mapping[str, Any] = {}
    """It, with every default written out; empty likewise."""


def asked(
    manifests: Manifests, pools: Iterable[Pool], settings: PickerSettings, before: Instances
) -> Configuration:
    """Return what *manifests* ask for; plugins of *before* that are the same stay the same objects.

    Raises:
        ConfigError: the `EndpointPickerConfig` cannot be used.
    """
    document = manifests.picker_config
    scraping = Scraping(settings.scrape_interval_seconds, settings.metrics_access)
    found = rewrite_concerns(manifests)
    if document is None:
        return Configuration(
            builtin.default(pools, before), tuple(PARSERS.values()), scraping, Settings(), concerns=found
        )
    resolved = resolve(document, allow_experimental=settings.allow_experimental)
    scheduler = configured.built(resolved, before)
    scraping = configured_scraping(resolved, scraping)
    plugins = scheduler.plugins.by_name
    flow, when_empty = wanted(resolved.config, plugins, document.source, waits=resolved.waits)
    named = not scheduler.needs_work or resolved.config.names_detector
    return Configuration(
        scheduler,
        tuple(PARSERS[resolved.specs[name].kind] for name in resolved.parsers),
        scraping,
        flow,
        when_empty,
        plugins[resolved.detector] if named else None,
        found + concerns(resolved, scraping.interval_seconds, manifests.simulators),
        document.source,
        printed.document(resolved),
    )
