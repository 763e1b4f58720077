"""`EndpointPickerConfig` files of older upstream versions (GIE v0.5 to v1.5, llm-d-inference-scheduler) -> today's form.

Only what changed its place, name or unit is known here; whether the result is right is checked like any other file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from igw.config.documents import Document

Body: TypeAlias = dict[str, Any]
Note: TypeAlias = tuple[str, str]
"""(place in the file, what was converted and to what)."""

VERSION = "llm-d.ai/v1alpha1"
"""Today's `apiVersion`."""

GATES_GONE = ("dataLayer", "enableLegacyMetrics", "prepareDataPlugins")
"""Feature gates of GIE v1.2 to v1.5. What they switched on is always on now."""

RENAMED = {
    "kv-cache-scorer": "kv-cache-utilization-scorer",
    "tokenizer": "token-producer",
    "by-label-selector": "label-selector-filter",
}
"""Plugin types by their older names; the parameters are the same."""

PRODUCER, SCORER, DETECTOR = "approx-prefix-cache-producer", "prefix-cache-scorer", "utilization-detector"
_INDEX = (
    "autoTune", "hashBlockSize", "blockSize", "blockSizeTokens", "maxPrefixTokensToMatch", "maxPrefixBlocksToMatch",
    "lruCapacityPerServer",
)  # fmt: skip
_THRESHOLDS = ("queueDepthThreshold", "kvCacheUtilThreshold", "metricsStalenessThreshold")
_LEAST_BLOCK_TOKENS = 64
_FIRST_MOST_BLOCKS = 256
"""`maxPrefixBlocksToMatch` of GIE v1.0, where it was not written."""
_IN_PROFILE = (
    "-scorer",
    "-filter",
    "-picker",
    "-detector",
    "by-label",
    "by-label-selector",
    "context-length-aware",
)


def today(document: Document) -> tuple[Document, tuple[Note, ...]]:
    """Return *document* in today's form and what had to be changed; without notes it is *document* itself."""
    body: Body = copy.deepcopy(document.body)
    notes: list[Note] = []
    for convert in _CONVERSIONS:
        convert(body, notes)
    if not notes:
        return document, ()
    return msgspec.structs.replace(document, body=body), tuple(notes)


def newest(document: Document) -> Document:
    """Return *document* in today's form with today's names everywhere, those that are still accepted included."""
    body: Body = copy.deepcopy(today(document)[0].body)
    body["apiVersion"] = VERSION
    for plugin in _plugins(body):
        if str(plugin.get("type")) in RENAMED:
            _rename(plugin)
    _move(body, "saturationDetector", "flowControl", "saturationDetector")
    if "parser" in body:
        body["parser"] = [body["parser"]]
        _move(body, "parser", "requestHandler", "parsers")
    return msgspec.structs.replace(document, api_version=VERSION, body=body)


def _plugins(body: Body) -> list[Body]:
    """Return the plugins that look like some; what does not is left for the strict reading to complain about."""
    return [plugin for _, plugin in _numbered(body)]


def _numbered(body: Body) -> list[tuple[int, Body]]:
    plugins = body.get("plugins")
    if not isinstance(plugins, list):
        return []
    return [(index, each) for index, each in enumerate(plugins) if isinstance(each, dict)]


def _rename(plugin: Body) -> None:
    plugin.setdefault("name", plugin["type"])  # what refers to it still does
    plugin["type"] = RENAMED[plugin["type"]]


def _move(body: Body, old: str, new: str, field: str) -> None:
    """Move what is written under *old* to *field* of *new*, unless that says something already."""
    there = body.get(new) or {}
    if isinstance(there, dict) and (written := body.pop(old, None)) is not None:
        body[new] = there if there.get(field) else {**there, field: written}


def _gates(body: Body, notes: list[Note]) -> None:
    gates = body.get("featureGates")
    if not isinstance(gates, list):
        return
    gone = [gate for gate in gates if isinstance(gate, str) and gate.partition("=")[0] in GATES_GONE]
    for gate in gone:
        gates.remove(gate)
        notes.append(("$.featureGates", f"the gate `{gate}` is gone: what it switched is always on"))
    if gone and not gates:
        del body["featureGates"]


def _data(body: Body, notes: list[Note]) -> None:
    if "data" in body and "dataLayer" not in body:
        body["dataLayer"] = body.pop("data")
        notes.append(("$.data", "is called `dataLayer` now"))


def _types(body: Body, notes: list[Note]) -> None:
    for index, plugin in _numbered(body):
        kind = plugin.get("type")
        if kind == "kv-cache-scorer":  # the other names are still accepted
            _rename(plugin)
            notes.append((f"$.plugins[{index}].type", f"`{kind}` is called `{plugin['type']}` now"))


def _saturation(body: Body, notes: list[Note]) -> None:
    """Make a plugin of thresholds that were written in the place of a reference (GIE v1.2 to v1.4)."""
    written = body.get("saturationDetector")
    if not isinstance(written, dict) or not (set(written) & set(_THRESHOLDS)) or "pluginRef" in written:
        return
    flow, plugins = body.get("flowControl") or {}, body.get("plugins") or []
    if not isinstance(flow, dict) or not isinstance(plugins, list):
        return  # the strict reading says so
    # A detector is a filter too, so a profile that is made of everything there is must be written out before it is added.
    if not body.get("schedulingProfiles"):
        names = [p.get("name") or p.get("type") for p in _plugins(body) if _scheduled(p)]
        body["schedulingProfiles"] = [{"name": "default", "plugins": [{"pluginRef": n} for n in names]}]
    name = _free(body, DETECTOR)
    plugin: Body = {"type": DETECTOR, "parameters": body.pop("saturationDetector")}
    if name != DETECTOR:
        plugin["name"] = name
    body["plugins"] = [*plugins, plugin]
    body["flowControl"] = {"saturationDetector": {"pluginRef": name}, **flow}
    notes.append(
        (
            "$.saturationDetector",
            f"thresholds are parameters of the plugin `{name}` now, used by `flowControl`",
        )
    )


def _scheduled(plugin: Body) -> bool:
    return str(plugin.get("type", "")).endswith(_IN_PROFILE)


def _free(body: Body, wanted: str) -> str:
    taken = {str(plugin.get("name") or plugin.get("type")) for plugin in _plugins(body)}
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name


def _prefix(body: Body, notes: list[Note]) -> None:
    """Move the index's parameters from the scorer, which owned it until GIE v1.4, to a producer."""
    for index, plugin in _numbered(body):
        parameters = plugin.get("parameters")
        if not isinstance(parameters, dict) or plugin.get("type") != SCORER:
            continue
        moved = {name: parameters.pop(name) for name in _INDEX if name in parameters}
        if not moved:
            continue
        if (
            "prefixMatchInfoProducerName" in parameters
        ):  # no version had both: today's file with a mistake in it
            parameters.update(moved)
            continue
        name = _free(body, PRODUCER)
        producer: Body = {"type": PRODUCER, "parameters": _index(moved)}
        if name != PRODUCER:
            producer["name"] = name
            parameters["prefixMatchInfoProducerName"] = name
        if not parameters:
            del plugin["parameters"]
        body["plugins"].append(producer)  # last, so that places in the file stay what they are
        notes.append((f"$.plugins[{index}].parameters", f"{', '.join(moved)}: parameters of `{name}` now"))


def _index(moved: Body) -> Body:
    """Return the producer's parameters: sizes in tokens instead of characters, and as much memory as before."""
    kept: Body = {name: moved[name] for name in ("autoTune", "maxPrefixTokensToMatch") if name in moved}
    first = "hashBlockSize" in moved
    characters = moved.get("hashBlockSize", moved.get("blockSize"))
    tokens = moved.get("blockSizeTokens")
    if not isinstance(tokens, int) and isinstance(characters, int):
        tokens = max(1, characters // 4)
    else:
        characters = None
    if first:
        kept["autoTune"] = False  # there was none
    if isinstance(tokens, int):
        kept["blockSizeTokens"] = tokens
    blocks = moved.get("maxPrefixBlocksToMatch", _FIRST_MOST_BLOCKS if first else None)
    if isinstance(blocks, int) and "maxPrefixTokensToMatch" not in kept:
        kept["maxPrefixTokensToMatch"] = blocks * (tokens if isinstance(tokens, int) else 16)
    if isinstance(entries := moved.get("lruCapacityPerServer"), int):
        size = tokens if characters is not None and isinstance(tokens, int) else _LEAST_BLOCK_TOKENS
        kept["lruCapacityPerServer"] = max(1, entries * size // max(size, _LEAST_BLOCK_TOKENS))
    return kept


_CONVERSIONS: tuple[Callable[[Body, list[Note]], None], ...] = (_gates, _data, _types, _saturation, _prefix)
