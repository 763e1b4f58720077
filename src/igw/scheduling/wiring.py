"""What a configuration uses plugins for outside of profiles: detector, parsers, data sources, policies, deciders. Names and roles only.

Profiles and their handler are `resolved`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from igw.config.decode import nearest
from igw.config.picker_config import PickerConfig, PriorityBand, Ref
from igw.errors import ConfigError
from igw.scheduling import registry
from igw.scheduling.specs import Spec, added, check_role, instance

DETECTOR = "utilization-detector"
PARSERS = ("openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser")
SOURCE, EXTRACTOR = "metrics-data-source", "core-metrics-extractor"
FLOW_POLICIES = ("global-strict-fairness-policy", "fcfs-ordering-policy", "static-usage-limit-policy")


def detector(source: str, config: PickerConfig, specs: dict[str, Spec]) -> str:
    """Return the name of the saturation detector, which is added if it is the default one."""
    flow = config.flow_control
    ref, where = (flow.saturation_detector if flow else None), f"{source} $.flowControl.saturationDetector"
    if ref is None and config.saturation_detector is not None:
        ref, where = config.saturation_detector, f"{source} $.saturationDetector"
    if ref is None:
        ref = Ref(DETECTOR)
    if not ref.plugin_ref:
        raise ConfigError(f"{where}.pluginRef", "the name of a plugin is expected, found none")
    if ref.plugin_ref == DETECTOR:
        added(specs, DETECTOR, "the default saturation detector")
    found = instance(ref.plugin_ref, specs, f"{where}.pluginRef")
    check_role(found, "detector", "saturation detector", f"{where}.pluginRef")
    return found.name


def parsers(source: str, config: PickerConfig, specs: dict[str, Spec]) -> tuple[str, ...]:
    """Return the names of the parsers, in order; those that go by their types are added."""
    refs = list(config.request_handler.parsers) if config.request_handler else []
    places = [f"{source} $.requestHandler.parsers[{index}].pluginRef" for index in range(len(refs))]
    if not refs and config.parser is not None:
        refs, places = [config.parser], [f"{source} $.parser.pluginRef"]
    if not refs:
        refs, places = [Ref(name) for name in PARSERS], ["a default parser"] * len(PARSERS)
    for ref, where in zip(refs, places, strict=True):
        if ref.plugin_ref in registry.PARSERS:
            added(specs, ref.plugin_ref, where)
        elif ref.plugin_ref not in specs:
            known = {*registry.PARSERS, *(n for n, each in specs.items() if "parser" in each.roles)}
            raise ConfigError(where, f"there is no parser `{ref.plugin_ref}`", nearest(ref.plugin_ref, known))
        check_role(specs[ref.plugin_ref], "parser", "parser", where)
    return tuple(ref.plugin_ref for ref in refs)


def sources(source: str, config: PickerConfig, specs: dict[str, Spec]) -> dict[str, tuple[str, ...]]:
    """Return the data sources and the extractors of each; the default one is added if it is missing."""
    layer = config.data_layer
    wired: dict[str, tuple[str, ...]] = {}
    for index, each in enumerate(layer.sources if layer else ()):
        where = f"{source} $.dataLayer.sources[{index}]"
        found = instance(each.plugin_ref, specs, f"{where}.pluginRef")
        check_role(found, "source", "data source", f"{where}.pluginRef")
        for number, ref in enumerate(each.extractors):
            place = f"{where}.extractors[{number}].pluginRef"
            extractor = instance(ref.plugin_ref, specs, place)
            check_role(extractor, "extractor", "extractor", place)
            fitting = registry.FEEDS.get(found.kind, (extractor.kind,))
            if extractor.kind not in fitting:
                raise ConfigError(
                    place,
                    f"`{extractor.name}` cannot read what `{found.name}` brings",
                    f"known: {', '.join(fitting)}",
                )
            if extractor.kind in [specs[other.plugin_ref].kind for other in each.extractors[:number]]:
                raise ConfigError(
                    place, f"there are two extractors of type `{extractor.kind}` below one source"
                )
        _check_watches(found, [specs[name] for name in wired], where)
        wired[each.plugin_ref] = tuple(ref.plugin_ref for ref in each.extractors)
    if layer is not None and layer.discovery is not None:
        where = f"{source} $.dataLayer.discovery.pluginRef"
        check_role(instance(layer.discovery.plugin_ref, specs, where), "discovery", "discovery", where)
    if layer is not None and layer.cross_replica_syncer_plugin_ref:
        raise ConfigError(
            f"{source} $.dataLayer.crossReplicaSyncerPluginRef",
            f"`{layer.cross_replica_syncer_plugin_ref}` does not tell other replicas anything",
            "neither upstream nor igw has a plugin that does",
        )
    # By type, not by name as upstream: a source under another name would be added a second time there.
    if (layer is None or layer.inject_defaults) and not any(specs[name].kind == SOURCE for name in wired):
        added(specs, SOURCE, "the default data source")
        wired[SOURCE] = (added(specs, EXTRACTOR, "its extractor").name,)
    if not wired:
        raise ConfigError(
            f"{source} $.dataLayer.injectDefaults",
            "without the default source and without another one there would be no data source at all",
        )
    return wired


def _check_watches(found: Spec, others: Iterable[Spec], where: str) -> None:
    def watched(spec: Spec) -> tuple[Any, ...]:
        return tuple(spec.parameters.get(name) for name in ("group", "version", "kind"))

    if found.kind == "k8s-notification-source":
        for other in others:
            if other.kind == found.kind and watched(other) == watched(found):
                raise ConfigError(
                    f"{where}.pluginRef", f"`{found.name}` watches the same objects as `{other.name}`"
                )


def check_deciders(specs: Mapping[str, Spec]) -> None:
    """Raise `ConfigError` for a handler that refers to a decider that is not there: its parameters are read later."""
    for each in specs.values():
        if "handler" not in each.roles:
            continue
        nested = each.parameters.get("deciders")
        written: dict[str, Any] = {
            f"deciders.{stage}": name for stage, name in (nested if isinstance(nested, dict) else {}).items()
        }
        written |= {
            key: value for key, value in each.parameters.items() if key.lower().endswith("deciderpluginname")
        }
        for key, name in written.items():
            if name:
                place = f"{each.where}.parameters.{key}"
                check_role(instance(str(name), specs, place), "decider", "decider", place)


def flow(source: str, config: PickerConfig, specs: dict[str, Spec], *, waits: bool) -> None:
    """Add the default policies of flow control, and check the references to others if anybody *waits* by them."""
    for name in FLOW_POLICIES:
        added(specs, name, "a default policy of flow control")
    flow = config.flow_control
    if flow is None or not waits:
        return
    where = f"{source} $.flowControl"
    uses: list[tuple[str, str, str]] = [
        (flow.usage_limit_policy_plugin_ref, "limit", f"{where}.usageLimitPolicyPluginRef")
    ]
    bands: Sequence[tuple[str, PriorityBand | None]] = (
        ("defaultPriorityBand", flow.default_priority_band),
        ("defaultNegativePriorityBand", flow.default_negative_priority_band),
        *((f"priorityBands[{index}]", band) for index, band in enumerate(flow.priority_bands)),
    )
    for place, band in bands:
        if band is not None:
            uses.append((band.fairness_policy_ref, "fairness", f"{where}.{place}.fairnessPolicyRef"))
            uses.append((band.ordering_policy_ref, "ordering", f"{where}.{place}.orderingPolicyRef"))
    for name, role, place in uses:
        if name:
            check_role(instance(name, specs, place), role, f"{role} policy", place)
