"""Pages of one endpoint, one after another: which engine they are of, and what follows from counters. No I/O and no clock.

What an engine calls things is `mapping` and `engines/`; what follows for the pool is `following`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from igw.scraping.engines.builtin import ENGINES, recognised
from igw.scraping.mapping import Engine, read
from igw.scraping.report import Report

LABEL_KEYS = ("llm-d.ai/engine-type", "inference.networking.k8s.io/engine-type")
"""Labels of an endpoint that name its engine: upstream's today, and the older one."""
CAPACITY_LABEL = "igw.dev/kv-capacity-tokens"
"""Label of an endpoint that says how many tokens its KV memory takes, where its engine does not."""
_FALLBACK = "vllm"
_RATE_SECONDS = 10.0
"""Time constant of rates: requests are counted when they end, so a rate over one pause would be nothing or a jump."""
_INSTANT_SECONDS = 1e-3
"""Pages that are nearer to each other tell no rate."""


class Engines(msgspec.Struct, frozen=True):
    """The engines there are, and which one an endpoint without a label is."""

    by_name: Mapping[str, Engine] = msgspec.field(default_factory=lambda: ENGINES)
    label_keys: tuple[str, ...] = LABEL_KEYS
    """In the order in which they are looked at."""
    default: str | None = None
    """None: what its page looks like."""


class Reader:
    """Reads one endpoint's pages; *labels* are the endpoint's."""

    def __init__(self, engines: Engines, labels: Mapping[str, str]) -> None:
        self._engines = engines
        self.engine: Engine | None = None
        self.chosen_by = ""
        """`label`, `configuration`, `page`, or `default` for a page that looks like no engine's."""
        self.unknown = ""
        """What a label says of the engine, if there is none of that name."""
        capacity = labels.get(CAPACITY_LABEL, "")
        self._capacity_tokens = int(capacity) if capacity.isdecimal() and len(capacity) < 16 else None
        self._busy: tuple[float, float] | None = None
        self._running: float | None = None
        said = next((labels[key] for key in engines.label_keys if key in labels), None)
        if said is not None and said not in engines.by_name:
            self.unknown = said
        elif said is not None:
            self.engine, self.chosen_by = engines.by_name[said], "label"
        if self.engine is None and engines.default is not None:
            self.engine, self.chosen_by = engines.by_name[engines.default], "configuration"

    def read(self, page: bytes, now: float) -> Report:
        """Read a page that was had at *now*, in seconds on any clock.

        Raises:
            ValueError: it has no word of load and no custom metric, under the names of this engine or of any other.
        """
        engine = self.engine or self._looked_at(page)
        report = read(page, engine)
        # What a label or a file says may be wrong, and another engine may have been started at the same address.
        if report.says_nothing and not report.scalars and self._looked_at(page) is not engine:
            engine = self._looked_at(page)
            report = read(page, engine)
        if report.says_nothing and not report.scalars:
            names = ", ".join(report.missing) or "no family of load"
            raise ValueError(f"the metrics page is not one of {engine.name}: it has no {names}")
        if engine is not self.engine:
            known = recognised(page, (engine,)) is not None
            self.engine, self.chosen_by = engine, "page" if known else "default"
            self._busy = self._running = None
        if report.kv_capacity_tokens is None and self._capacity_tokens:
            report = replace(report, kv_capacity_tokens=self._capacity_tokens)
        if report.busy_seconds is None:
            return report
        return replace(report, running=self._rate(report.busy_seconds, now))

    def _looked_at(self, page: bytes) -> Engine:
        by_name = self._engines.by_name
        return recognised(page, by_name.values()) or by_name[_FALLBACK]

    def _rate(self, busy: float, now: float) -> float | None:
        """Return how many requests were computed at a time lately; None until there are two pages of one run of the engine."""
        before, self._busy = self._busy, (busy, now)
        if before is None or busy < before[0]:
            self._running = None
            return None
        seconds = now - before[1]
        if seconds < _INSTANT_SECONDS:
            self._busy = before
            return self._running
        rate = (busy - before[0]) / seconds
        if self._running is not None:
            rate = self._running + (rate - self._running) * -math.expm1(-seconds / _RATE_SECONDS)
        self._running = rate
        return rate
