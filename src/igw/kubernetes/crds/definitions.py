"""`definitions.yaml` -> CustomResourceDefinitions (apiextensions.k8s.io/v1). Applying them is kubectl's business."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from typing import Any

import yaml

KINDS = ("InferencePool", "InferenceObjective", "InferenceModelRewrite", "InferencePoolImport")
"""The kinds there are definitions of."""


def definitions(kinds: Collection[str] = KINDS, *, legacy: bool = False) -> list[dict[str, Any]]:
    """Return the definitions of *kinds*, with *legacy* also those in groups and versions that upstream has given up.

    Those are everything of `inference.networking.x-k8s.io/v1alpha2`.
    """
    written = yaml.load((files(__package__) / "definitions.yaml").read_bytes(), yaml.CSafeLoader)
    return [
        _definition(each)
        for each in written["kinds"]
        if each["kind"] in kinds and (legacy or not each.get("legacy", False))
    ]


def text(kinds: Collection[str] = KINDS, *, legacy: bool = False) -> str:
    """Return the same as YAML documents."""
    return str(yaml.dump_all(definitions(kinds, legacy=legacy), Dumper=_Dumper, sort_keys=False, width=120))


def _definition(written: dict[str, Any]) -> dict[str, Any]:
    kind, plural, group = written["kind"], written["plural"], written["group"]
    version: dict[str, Any] = {"name": written["version"], "served": True, "storage": True}
    if "columns" in written:
        version["additionalPrinterColumns"] = written["columns"]
    schema = written["schema"]
    every = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    version["schema"] = {"openAPIV3Schema": {**schema, "properties": every | schema["properties"]}}
    version["subresources"] = {"status": {}}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    if "short" in written:
        names["shortNames"] = [written["short"]]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": written["annotations"]},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }


class _Dumper(yaml.CSafeDumper):  # type: ignore[misc]
    """Writes out what is named more than once, since not everything that reads YAML knows anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True
