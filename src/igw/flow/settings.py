"""The settings of flow control, and how they follow from an `EndpointPickerConfig`. Parameters of policies are read in `scheduling.configured`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from igw.config.durations import go_seconds
from igw.config.picker_config import FlowControl, PickerConfig, PriorityBand, Quantity
from igw.errors import ConfigError
from igw.flow.api import UsageLimit
from igw.flow.band import BandSettings
from igw.flow.fairness.global_strict import GlobalStrict
from igw.flow.limits.keep_headroom import KeepHeadroom
from igw.flow.limits.static import StaticLimit
from igw.flow.ordering.fcfs import Fcfs
from igw.flow.revocation import RevocationSettings

GATE = "flowControl"
"""Upstream's feature gate."""

UPSTREAM_BAND = BandSettings(fairness=GlobalStrict(), ordering=Fcfs())
"""What a band is in a file that turns on the gate `flowControl` and says no more: upstream's defaults."""


class Settings(msgspec.Struct, frozen=True):
    """How requests wait. The defaults are those of a picker without configuration."""

    max_bytes: int | None = 1_000_000_000
    """Of all bodies that wait, as much as one band may have by default; None: no limit. Upstream has none by default."""
    max_requests: int | None = None
    request_ttl_seconds: float = 60.0
    """0: for ever."""
    no_endpoint_ttl_seconds: float = 60.0
    """While the pool is empty; 0: for ever."""
    band: BandSettings = BandSettings()
    """What a band is that is not listed."""
    negative_band: BandSettings | None = None
    """Likewise for priorities below 0; None: as `band`."""
    bands: Mapping[int, BandSettings] = {}
    limit: UsageLimit = KeepHeadroom()
    revocation: RevocationSettings | None = None
    """None: what is in flight stays there."""

    def band_of(self, priority: int) -> BandSettings:
        """Return the settings of a band, from its template if it is not listed."""
        if priority in self.bands:
            return self.bands[priority]
        return self.negative_band if priority < 0 and self.negative_band is not None else self.band


def wanted(
    config: PickerConfig, plugins: Mapping[str, Any], source: str, *, waits: bool
) -> tuple[Settings | None, bool]:
    """Return the settings of a picker's file, None where nobody *waits* by it, and whether requests wait for an empty pool.

    With the gate on an empty pool is waited for, as upstream has it. Without it requests wait as those of the picker without a file do,
    and for an empty pool if the file says how long.

    Raises:
        ConfigError: see `settings`.
    """
    if not waits:
        return None, False
    gate, written = config.enabled(GATE), config.flow_control
    when_empty = gate or (written is not None and written.no_endpoint_request_ttl is not None)
    return settings(written, plugins, source, gate=gate), when_empty


def settings(
    written: FlowControl | None, plugins: Mapping[str, Any], source: str = "", *, gate: bool = False
) -> Settings:
    """Return the settings that a file's `flowControl` describes; *plugins* are its instances by name, all that it refers to.

    With upstream's *gate* on, what is not written is as upstream has it; without it, it is as igw has it.

    Raises:
        ConfigError: two bands of one priority, shares that are more than all.
    """
    template = UPSTREAM_BAND if gate else BandSettings()
    limit: UsageLimit = StaticLimit() if gate else KeepHeadroom()
    if written is None:
        return Settings(band=template, limit=limit)
    if written.usage_limit_policy_plugin_ref:
        limit = plugins[written.usage_limit_policy_plugin_ref]
    elif gate:  # the file may have one of that name with a limit of its own
        limit = plugins.get(StaticLimit.type, limit)
    where = f"{source} $.flowControl"
    default = _band(written.default_priority_band, template, plugins)
    negative = written.default_negative_priority_band
    bands: dict[int, BandSettings] = {}
    for index, each in enumerate(written.priority_bands):
        place = f"{where}.priorityBands[{index}].priority"
        priority = each.priority or 0
        if priority in bands:
            raise ConfigError(place, f"there are two bands of priority {priority}")
        # Upstream fills in the hard defaults for listed bands, not the templates'.
        bands[priority] = _band(each, template, plugins)
    shares = sum(band.minimum_share for band in bands.values())
    if shares > 1:
        raise ConfigError(
            f"{where}.priorityBands", f"the minimum shares are {shares:g} together", "at most 1"
        )
    ttl = _seconds(written.default_request_ttl, 60.0)
    return Settings(
        1_000_000_000 if written.max_bytes is None else quantity(written.max_bytes) or None,
        quantity(written.max_requests or 0) or None,
        ttl,
        _seconds(written.no_endpoint_request_ttl, ttl),
        default,
        None if negative is None else _band(negative, template, plugins),
        bands,
        limit,
        _revocation(written, plugins) if written.enable_eviction else None,
    )


def _band(written: PriorityBand | None, template: BandSettings, plugins: Mapping[str, Any]) -> BandSettings:
    if written is None:
        return template
    return BandSettings(
        quantity(written.max_bytes or 0) or template.max_bytes,
        quantity(written.max_requests or 0) or template.max_requests,
        plugins[written.fairness_policy_ref] if written.fairness_policy_ref else template.fairness,
        plugins[written.ordering_policy_ref] if written.ordering_policy_ref else template.ordering,
        written.minimum_share,
    )


def _revocation(written: FlowControl, plugins: Mapping[str, Any]) -> RevocationSettings:
    """Return the settings of eviction; its policies are those that the file lists, they are referred to by nothing (upstream's rule)."""
    default = RevocationSettings()
    return RevocationSettings(
        next((each for each in plugins.values() if hasattr(each, "evictable")), default.may),
        next((each for each in plugins.values() if hasattr(each, "victim_rank")), default.order),
        after_first_token=written.evict_after_first_token,
    )


_SUFFIX: dict[str, int | Decimal] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


def quantity(written: Quantity) -> int:
    """Return a Kubernetes quantity as a whole number, rounded up; its form has been checked."""
    number, suffix = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)", str(written)).groups()  # type: ignore[union-attr]
    return int((Decimal(number) * _SUFFIX[suffix]).to_integral_value("ROUND_CEILING"))


def _seconds(written: str | None, default: float) -> float:
    return default if written is None else go_seconds(written)
