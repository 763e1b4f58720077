"""A resolved configuration as a file again: every default written out. What the defaults are is `resolved`."""

from __future__ import annotations

from typing import Any

import msgspec

from igw.config import legacy
from igw.scheduling.resolved import Resolved


def document(resolved: Resolved) -> dict[str, Any]:
    """Return an `EndpointPickerConfig` that decides as *resolved* does and leaves nothing to defaults but parameters."""
    config = resolved.config
    body: dict[str, Any] = {"apiVersion": legacy.VERSION, "kind": config.kind}
    if config.metadata:
        body["metadata"] = config.metadata
    if config.feature_gates:
        body["featureGates"] = config.feature_gates
    body["plugins"] = [
        {"name": spec.name, "type": spec.kind, **({"parameters": spec.parameters} if spec.parameters else {})}
        for spec in resolved.specs.values()
    ]
    body["schedulingProfiles"] = [
        {"name": name, "plugins": [_use(resolved, use.name, use.weight) for use in uses]}
        for name, uses in resolved.profiles.items()
    ]
    sources = [
        {"pluginRef": name, **({"extractors": [{"pluginRef": e} for e in extractors]} if extractors else {})}
        for name, extractors in resolved.sources.items()
    ]
    body["dataLayer"] = {**(msgspec.to_builtins(config.data_layer) or {}), "sources": sources}
    flow = msgspec.to_builtins(config.flow_control) or {}
    body["flowControl"] = {**flow, "saturationDetector": {"pluginRef": resolved.detector}}
    body["requestHandler"] = {"parsers": [{"pluginRef": name} for name in resolved.parsers]}
    return body


def _use(resolved: Resolved, name: str, weight: float) -> dict[str, Any]:
    if "scorer" in resolved.specs[name].roles:
        return {"pluginRef": name, "weight": weight}
    return {"pluginRef": name}
