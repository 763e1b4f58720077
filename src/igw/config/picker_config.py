"""Every field of an `EndpointPickerConfig`, as frozen values. What a plugin does and whether its parameters are right is `scheduling`.

Defaults that depend on other fields (pickers, handlers, producers) are not filled in here; what is written stays visible.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from igw.config import durations
from igw.config.decode import decode, nearest
from igw.config.documents import Document
from igw.errors import ConfigError

GATES: dict[str, bool] = {"flowControl": False, "haPopulateNonLeaderDatastore": True}
"""Feature gates and what they are when they are not written. Others are unknown to today's upstream too."""

_QUANTITY = r"^[+-]?[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]+)?$"
Quantity: TypeAlias = (
    int
    | Annotated[
        str,
        Meta(pattern=_QUANTITY, extra_json_schema={"description": "a quantity such as 5000, 512Mi or 1G"}),
    ]
)
Duration: TypeAlias = Annotated[
    str,
    Meta(pattern=durations.GO_PATTERN, extra_json_schema={"description": "a duration such as 60s or 200ms"}),
]
_TRUE, _FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What all parts of the file have in common: strict, camel case."""


class Plugin(_Part, frozen=True, omit_defaults=True):
    """One instance: `name` is the type unless written. Parameters belong to the type."""

    type: Annotated[str, Meta(min_length=1)]
    name: str = ""
    parameters: dict[str, Any] | None = None

    @property
    def called(self) -> str:
        """The name that references use."""
        return self.name or self.type


class Reference(_Part, frozen=True):
    """A use of an instance in a profile; `weight` counts for scorers only."""

    plugin_ref: str = ""
    weight: float | None = None


class SchedulingProfile(_Part, frozen=True):
    """A named pipeline: its filters and scorers in order, and at most one picker."""

    name: str = ""
    plugins: list[Reference] = []


class Ref(_Part, frozen=True):
    """A use of an instance elsewhere."""

    plugin_ref: str = ""


class Source(_Part, frozen=True):
    """A data source and what reads numbers from what it brings."""

    plugin_ref: str = ""
    extractors: list[Ref] = []


class DataLayer(_Part, frozen=True):
    """Where facts about endpoints come from. Engines are scraped by igw's own scraper; see docs/picker-config.md."""

    inject_defaults: bool = True
    sources: list[Source] = []
    discovery: Ref | None = None
    peer_discovery: Ref | None = None
    cross_replica_syncer_plugin_ref: str = ""
    cross_replica_sync_interval: Duration = "200ms"


class RequestHandler(_Part, frozen=True):
    """Who reads request bodies."""

    parsers: list[Ref] = []


class PriorityBand(_Part, frozen=True):
    """Queue limits and policies of one priority; absent or 0 means the default of 1G and 5000, never unlimited."""

    priority: int | None = None
    max_bytes: Quantity | None = None
    max_requests: Quantity | None = None
    fairness_policy_ref: str = ""
    ordering_policy_ref: str = ""
    minimum_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Ours: share of the work that it gets whatever higher bands want; 0: strict priority."""


class FlowControl(_Part, frozen=True):
    """Queues in front of the pick; used only with the feature gate, but for the saturation detector."""

    max_bytes: Quantity | None = None
    max_requests: Quantity | None = None
    default_request_ttl: Duration | None = msgspec.field(name="defaultRequestTTL", default=None)
    no_endpoint_request_ttl: Duration | None = msgspec.field(name="noEndpointRequestTTL", default=None)
    default_priority_band: PriorityBand | None = None
    default_negative_priority_band: PriorityBand | None = None
    priority_bands: list[PriorityBand] = []
    usage_limit_policy_plugin_ref: str = ""
    saturation_detector: Ref | None = None
    enable_eviction: bool = False
    evict_after_first_token: bool = False
    """Ours: whether eviction may also end an answer that the client has begun to read."""


class PickerConfig(_Part, frozen=True):
    """One `EndpointPickerConfig`, as it was written."""

    api_version: str
    kind: str
    metadata: dict[str, Any] = {}
    feature_gates: list[str] = []
    plugins: list[Plugin] = []
    scheduling_profiles: list[SchedulingProfile] = []
    data_layer: DataLayer | None = None
    flow_control: FlowControl | None = None
    request_handler: RequestHandler | None = None
    saturation_detector: Ref | None = None
    """Deprecated: `flowControl.saturationDetector`."""
    parser: Ref | None = None
    """Deprecated: the first of `requestHandler.parsers`."""

    @property
    def names_detector(self) -> bool:
        """Whether a saturation detector is written."""
        flow = self.flow_control
        return self.saturation_detector is not None or (
            flow is not None and flow.saturation_detector is not None
        )

    def enabled(self, gate: str) -> bool:
        """Return whether a feature gate is on; the file has been checked."""
        on = GATES[gate]
        for written in self.feature_gates:
            name, _, value = written.partition("=")
            if name == gate:
                on = _gate_value(value)
        return on


def read(document: Document) -> PickerConfig:
    """Return *document*, which is in today's form, checked as far as no plugin is involved.

    Raises:
        ConfigError: an unknown field or gate, a value of another form, a profile without a name, a reference without one,
            a negative quantity.
    """
    config = decode(document, PickerConfig)
    source = document.source
    for index, written in enumerate(config.feature_gates):
        _check_gate(written, f"{source} $.featureGates[{index}]")
    _check_profiles(config, source)
    if config.flow_control is not None:
        _check_quantities(config.flow_control, f"{source} $.flowControl")
    return config


def _check_gate(written: str, where: str) -> None:
    name, equals, value = written.partition("=")
    if name not in GATES:
        raise ConfigError(where, f"there is no feature gate `{name}`", nearest(name, GATES))
    if equals and value.partition("=")[0].lower() not in _TRUE | _FALSE:
        raise ConfigError(where, f"`{value}` is not a value of a feature gate", "write true or false")


def _gate_value(value: str) -> bool:
    # What stands after a second `=` is passed over, as upstream does.
    return value.partition("=")[0].lower() not in _FALSE


def _check_profiles(config: PickerConfig, source: str) -> None:
    names: set[str] = set()
    for index, profile in enumerate(config.scheduling_profiles):
        where = f"{source} $.schedulingProfiles[{index}]"
        if not profile.name:
            raise ConfigError(f"{where}.name", "a scheduling profile needs a name")
        if profile.name in names:
            raise ConfigError(f"{where}.name", f"there are two scheduling profiles named `{profile.name}`")
        names.add(profile.name)
        for number, reference in enumerate(profile.plugins):
            if not reference.plugin_ref:
                raise ConfigError(
                    f"{where}.plugins[{number}].pluginRef", "the name of a plugin is expected, found none"
                )


def _check_quantities(flow: FlowControl, where: str) -> None:
    places: list[tuple[str, Quantity | None]] = [
        ("maxBytes", flow.max_bytes),
        ("maxRequests", flow.max_requests),
    ]
    bands = [("defaultPriorityBand", flow.default_priority_band)]
    bands.append(("defaultNegativePriorityBand", flow.default_negative_priority_band))
    bands += [(f"priorityBands[{index}]", band) for index, band in enumerate(flow.priority_bands)]
    for name, band in bands:
        if band is not None:
            places += [(f"{name}.maxBytes", band.max_bytes), (f"{name}.maxRequests", band.max_requests)]
    for path, quantity in places:
        if str(quantity).startswith("-"):
            raise ConfigError(
                f"{where}.{path}", f"`{quantity}` is negative", "0 or nothing means the default"
            )
