"""What a configuration says that upstream lets pass in silence and its author will hardly have meant. Each concern has a code.

Errors are raised where the file is read (`resolved`, `configured`); the codes are explained in docs/warnings.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from igw.config import legacy
from igw.config.documents import Document
from igw.config.durations import seconds
from igw.config.picker_config import FlowControl
from igw.facts import DEFAULT_PRODUCERS, LOAD, PREFIX
from igw.scheduling import registry
from igw.scheduling.dependencies import producer_of
from igw.scheduling.resolved import Resolved, Use

CODES: Mapping[str, str] = {
    "IGW001": "known to upstream, not yet in igw",
    "IGW002": "written for an older version",
    "IGW003": "deprecated",
    "IGW004": "experimental",
    "IGW005": "configured and not used",
    "IGW006": "a producer that is not configured",
    "IGW007": "the default producer while another one is configured",
    "IGW008": "a precise index that nothing feeds",
    "IGW009": "no load signal",
    "IGW010": "affinity outweighs load",
    "IGW011": "a weight of 0 or below",
    "IGW012": "a weight without effect",
    "IGW013": "a number that nobody reports",
    "IGW014": "stale before it is fresh",
    "IGW015": "accepted, without effect",
    "IGW016": "no role in a profile",
    "IGW017": "two sizes of one index",
    "IGW018": "nothing to rank by",
    "IGW020": "a rewrite without effect",
    "IGW021": "a rewrite of every model",
}

LOAD_SCORERS = frozenset({
    "queue-scorer", "kv-cache-utilization-scorer", "running-requests-size-scorer", "load-aware-scorer", "active-request-scorer",
    "token-load-scorer", "latency-scorer", "marginal-work-scorer", "endpoint-attribute-scorer", "multicluster-queue-scorer",
    "multicluster-kv-cache-utilization-scorer",
})  # fmt: skip
AFFINITY_SCORERS = frozenset({
    "prefix-cache-scorer", "precise-prefix-cache-scorer", "multicluster-prefix-cache-scorer", "lora-affinity-scorer",
    "session-affinity-scorer", "mm-embeddings-cache-scorer", "topology-affinity-scorer", "header-label-affinity-scorer",
})  # fmt: skip
_LOAD_FILTERS = frozenset(
    {"utilization-filter", "utilization-detector", "concurrency-detector", "prefix-cache-affinity-filter"}
)
_REPORTED = frozenset({"WaitingQueueSize", "RunningRequestsSize", "KVCacheUsagePercent"})
_SCHEDULED = frozenset({"filter", "scorer", "picker"})
_REFERRED_TO = _SCHEDULED | {"detector", "source", "extractor", "fairness", "ordering", "limit", "decider"}
_PRECISE, _REDIS = "precise-prefix-cache-producer", "redisConfig"
_MOST_AFFINITY = 3.0
_OLD_PARAMETERS = {"blockSize": "blockSizeTokens", "maxPrefixBlocksToMatch": "maxPrefixTokensToMatch"}


class Concern(msgspec.Struct, frozen=True):
    """One thing that is probably not meant."""

    code: str
    where: str
    message: str


def concerns(
    resolved: Resolved, scrape_interval_seconds: float = 0.05, simulators: Iterable[Document] = ()
) -> list[Concern]:
    """Return what there is to say of a configuration, by code; *simulators* are the model servers that are known."""
    found = [
        *_of_form(resolved),
        *_of_types(resolved),
        *_of_use(resolved),
        *_of_parsers(resolved),
        *_of_producers(resolved),
        *_of_precise(resolved),
        *_of_numbers(resolved, scrape_interval_seconds, tuple(simulators)),
    ]
    for name, uses in resolved.profiles.items():
        found += _of_profile(resolved, name, uses)
    return sorted(found, key=lambda concern: concern.code)


def _of_form(resolved: Resolved) -> Iterator[Concern]:
    source, config = resolved.source, resolved.config
    for place, what in resolved.converted:
        yield Concern("IGW002", f"{source} {place}", f"{what}; `igw check --convert` writes today's form")
    if config.api_version != legacy.VERSION:
        yield Concern(
            "IGW003", f"{source} $.apiVersion", f"`{config.api_version}` is called `{legacy.VERSION}` now"
        )
    if config.saturation_detector is not None:
        yield Concern("IGW003", f"{source} $.saturationDetector", "is `flowControl.saturationDetector` now")
    if config.parser is not None:
        yield Concern("IGW003", f"{source} $.parser", "is the first of `requestHandler.parsers` now")
    flow = config.flow_control
    beside = flow and msgspec.structs.replace(flow, saturation_detector=None)
    if beside and beside != FlowControl() and not resolved.waits:
        yield Concern(
            "IGW015", f"{source} $.flowControl", "nobody waits without the feature gate `flowControl`"
        )
    layer = config.data_layer
    if layer is not None and layer.peer_discovery is not None:
        yield Concern("IGW015", f"{source} $.dataLayer.peerDiscovery", "nothing uses it, here or upstream")


def _of_types(resolved: Resolved) -> Iterator[Concern]:
    for spec in resolved.specs.values():
        known, place = spec.known, f"{spec.where}.type" if spec.written else spec.where
        if spec.later:
            yield Concern(
                "IGW001",
                place,
                f"{spec.described} is known to upstream, not yet in igw: it comes with {known.later}",
            )
        if not spec.written:
            continue
        if known.instead:
            yield Concern("IGW003", place, f"`{spec.kind}` is deprecated, use `{known.instead}`")
        if known.alpha:
            yield Concern(
                "IGW004",
                place,
                f"`{spec.kind}` is experimental: `igw epp` needs --allow-experimental-plugins",
            )
        if spec.made_of is None and known.inert and spec.kind not in _WITHOUT_WORDS:
            yield Concern("IGW015", place, f"`{spec.kind}`: {known.inert}")
        for old, new in _OLD_PARAMETERS.items():
            if spec.kind == legacy.PRODUCER and old in spec.parameters:
                yield Concern("IGW003", f"{spec.where}.parameters.{old}", f"is deprecated, use `{new}`")


_WITHOUT_WORDS = frozenset({
    "metrics-data-source", "core-metrics-extractor", "endpoint-notification-source", "utilization-detector",
    "global-strict-fairness-policy", "fcfs-ordering-policy", "static-usage-limit-policy",
})  # fmt: skip
"""What upstream would add by itself, and what igw does in another way."""


def _of_use(resolved: Resolved) -> Iterator[Concern]:
    used = {use.name for uses in resolved.profiles.values() for use in uses}
    used |= {resolved.handler, resolved.detector, *resolved.parsers, *resolved.sources}
    used |= {name for extractors in resolved.sources.values() for name in extractors}
    used |= {name for spec in resolved.specs.values() for name in _texts(spec.parameters)}
    flow = msgspec.to_builtins(resolved.config.flow_control) or {}
    used |= set(_texts(flow)) | set(_texts(msgspec.to_builtins(resolved.config.data_layer) or {}))
    for spec in resolved.specs.values():
        # Producers, admitters and whatever has hooks are asked or told of every request, referenced or not.
        if spec.written and _REFERRED_TO.issuperset(spec.roles) and spec.name not in used:
            yield Concern("IGW005", spec.where, f"nothing refers to the plugin `{spec.name}`")
        if spec.written and spec.known.provides and spec.name not in used and spec.name != spec.kind:
            yield Concern("IGW005", spec.where, f"no plugin reads what the producer `{spec.name}` provides")


def _of_parsers(resolved: Resolved) -> Iterator[Concern]:
    """Say which parsers are passed over, as upstream does it: behind the one that takes the rest, or a second of a type."""
    seen: set[str] = set()
    for name in resolved.parsers:
        spec = resolved.specs[name]
        if PASSTHROUGH in seen:
            why = f"`{PASSTHROUGH}` stands before it and takes what no other parser claims"
            yield Concern("IGW005", spec.where, f"the parser `{name}` is never asked: {why}")
        elif spec.kind in seen:
            yield Concern("IGW005", spec.where, f"the parser `{name}` is the second of type `{spec.kind}`")
        seen.add(spec.kind)


PASSTHROUGH = "passthrough-parser"


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in *value*: names of other instances, among others, where these are parameters of a plugin."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _of_producers(resolved: Resolved) -> Iterator[Concern]:
    specs = resolved.specs
    for spec in specs.values():
        for need in spec.known.needs:
            if need.fact not in (PREFIX, LOAD) or not need.parameter:
                continue
            name, default = producer_of(spec, need), DEFAULT_PRODUCERS[need.fact]
            if name != default and not specs[name].written:
                yield Concern(
                    "IGW006", f"{spec.where}.parameters.{need.parameter}",
                    f"there is no producer `{name}`, so a `{default}` with its defaults was made under that name",
                )  # fmt: skip
            others = [
                s.name
                for s in specs.values()
                if s.written and need.fact in s.known.provides and s.name != default
            ]
            written = default in specs and specs[default].written
            if (
                spec.written
                and name == default
                and others
                and not written
                and need.parameter not in spec.parameters
            ):
                yield Concern(
                    "IGW007", spec.where,
                    f"`{spec.name}` reads the default producer `{default}`, not `{others[0]}`: write {need.parameter}",
                )  # fmt: skip
    sizes = {
        (s.parameters.get("autoTune", True), s.parameters.get("lruCapacityPerServer", 31_250)): s
        for s in specs.values()
        if s.kind == legacy.PRODUCER and s.written
    }
    for spec in list(sizes.values())[1:]:
        yield Concern(
            "IGW017",
            spec.where,
            f"`{spec.name}` shares one index with the first producer, which says its size",
        )


def _of_precise(resolved: Resolved) -> Iterator[Concern]:
    tokens = [spec for spec in resolved.specs.values() if spec.kind in ("token-producer", "tokenizer")]
    makers = {"vllm", "local", "endpoints", "modelName", "udsTokenizerConfig"}
    exact = any(makers & set(spec.parameters) for spec in tokens)
    for spec in resolved.specs.values():
        if spec.kind != _PRECISE:
            continue
        events = spec.parameters.get("kvEventsConfig")
        socket = isinstance(events, Mapping) and events.get("zmqEndpoint")
        # Upstream also wants it below an endpoint-notification-source; here who is in a pool is listened to.
        if isinstance(events, Mapping) and events.get("discoverPods") is False and not socket:
            yield Concern(
                "IGW008", spec.where,
                f"`{spec.name}` has discoverPods false and no zmqEndpoint: it never hears an engine",
            )  # fmt: skip
        if _REDIS in _within(_within(spec.parameters, "indexerConfig"), "kvBlockIndexConfig"):
            yield Concern(
                "IGW015",
                f"{spec.where}.parameters.indexerConfig.kvBlockIndexConfig.{_REDIS}",
                "nothing is shared in Redis: every picker hears the engines itself and keeps its index in memory",
            )
        if not exact:
            yield Concern(
                "IGW008",
                spec.where,
                f"`{spec.name}` needs exact tokens, and no token-producer has a tokenizer: only prompts of token ids match",
            )


def _within(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what is written below *name*; nothing where that is no mapping, which the plugin's own reading refuses."""
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _of_numbers(resolved: Resolved, interval: float, simulators: tuple[Document, ...]) -> Iterator[Concern]:
    with_adapters = [each for each in simulators if _adapters(each)]
    reported = _REPORTED | _custom(resolved)
    for spec in resolved.specs.values():
        attribute = spec.parameters.get("attribute", spec.parameters.get("attributeKey"))
        if (
            spec.kind in ("endpoint-attribute-filter", "endpoint-attribute-scorer")
            and attribute not in reported
        ):
            yield Concern(
                "IGW013",
                spec.where,
                f"nothing reports the attribute `{attribute}` yet: it is missing everywhere",
            )
        if spec.kind in _OF_KV and simulators and all(_dialect(each) in _WITHOUT_KV for each in simulators):
            yield Concern(
                "IGW013",
                spec.where,
                "none of the model servers of these files tells how full its KV memory is: all endpoints count alike",
            )
        if spec.kind == "lora-affinity-scorer" and simulators and not with_adapters:
            yield Concern(
                "IGW013",
                spec.where,
                "none of the model servers of these files has LoRA adapters: all endpoints score 0",
            )
        threshold = spec.parameters.get("metricsStalenessThreshold")
        if isinstance(threshold, str) and (limit := _seconds(threshold)) is not None and limit <= interval:
            yield Concern(
                "IGW014", f"{spec.where}.parameters.metricsStalenessThreshold",
                f"{threshold} is not longer than the scrape interval of {interval:g} s: endpoints count as saturated most of the time",
            )  # fmt: skip


_OF_KV = frozenset({"kv-cache-utilization-scorer"})
_WITHOUT_KV = frozenset({"tgi"})
"""Dialects of simulated model servers that say nothing of KV memory."""


def _dialect(simulator: Document) -> Any:
    spec = simulator.body.get("spec")
    return spec.get("dialect") if isinstance(spec, Mapping) else None


def _custom(resolved: Resolved) -> set[str]:
    """Return the keys of custom metrics that are scraped; whether they are rightly written is checked elsewhere."""
    configs = [
        config
        for names in resolved.sources.values()
        for name in names
        for config in resolved.specs[name].parameters.get("engineConfigs") or ()
    ]
    metrics = [
        each
        for config in configs
        if isinstance(config, Mapping)
        for each in config.get("customMetrics") or ()
    ]
    return {str(each.get("attributeKey")) for each in metrics if isinstance(each, Mapping)}


def _adapters(simulator: Document) -> bool:
    spec = simulator.body.get("spec")
    return isinstance(spec, Mapping) and any("lora" in key.lower() and value for key, value in spec.items())


def _seconds(duration: str) -> float | None:
    try:
        return seconds(duration)
    except ValueError:  # the plugin's own reading says what is wrong with it
        return None


def _of_profile(resolved: Resolved, name: str, uses: Iterable[Use]) -> Iterator[Concern]:
    where = f"{resolved.source} scheduling profile `{name}`"
    written = {
        (profile.name, reference.plugin_ref)
        for profile in resolved.config.scheduling_profiles
        for reference in profile.plugins
        if reference.weight is not None
    }
    weights: dict[str, float] = {}
    filters: set[str] = set()
    for use in uses:
        spec = resolved.specs[use.name]
        if not _SCHEDULED & set(spec.roles):
            yield Concern(
                "IGW016", use.where, f"`{use.name}` (type {spec.kind}) is no filter, scorer or picker"
            )
        if "filter" in spec.roles:
            filters.add(spec.kind)
        if "scorer" not in spec.roles:
            if (name, use.name) in written:
                yield Concern(
                    "IGW012",
                    f"{use.where}.weight",
                    f"`{use.name}` is no scorer, its weight counts for nothing",
                )
            continue
        weights[spec.kind] = weights.get(spec.kind, 0.0) + use.weight
        if use.weight <= 0:
            effect = "prefers what it scores worst" if use.weight < 0 else "counts for nothing"
            yield Concern(
                "IGW011", f"{use.where}.weight", f"with a weight of {use.weight:g} `{use.name}` {effect}"
            )
    yield from _of_weights(where, weights, filters, resolved, uses)


def _of_weights(
    where: str, weights: Mapping[str, float], filters: set[str], resolved: Resolved, uses: Iterable[Use]
) -> Iterator[Concern]:
    picker = next((resolved.specs[u.name].kind for u in uses if "picker" in resolved.specs[u.name].roles), "")
    if not weights and picker in ("max-score-picker", "weighted-random-picker"):
        yield Concern("IGW018", where, f"has no scorer: `{picker}` chooses at random")
    load = sum(weight for kind, weight in weights.items() if kind in LOAD_SCORERS)
    affinity = sum(weight for kind, weight in weights.items() if kind in AFFINITY_SCORERS)
    strange = any(kind not in registry.UPSTREAM for kind in weights)
    if weights and load <= 0 and not strange and not filters & _LOAD_FILTERS:
        yield Concern(
            "IGW009",
            where,
            "no scorer and no filter looks at load: one endpoint may get all requests of one prefix",
        )
    elif load > 0 and affinity > _MOST_AFFINITY * load and "marginal-work-scorer" not in weights:
        yield Concern(
            "IGW010", where,
            f"affinity weighs {affinity:g} and load {load:g}: a full match outweighs any queue",
        )  # fmt: skip
