"""ConfigMaps that say which adapters belong to which base model (upstream's body-based router): their form, read strictly.

What a request's model is looked up in is `igw.payload`; other ConfigMaps mean something only in a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import yaml

from igw.config.decode import nearest
from igw.config.documents import Document
from igw.errors import ConfigError

MANAGED = ("inference.networking.k8s.io/bbr-managed", "inference.llm-d.ai/ipp-managed")
"""Labels, of which one must be `"true"`: those of GIE v1.5 and of its successor."""

_BASE, _ADAPTERS = "baseModel", "adapters"


class AdapterMap(msgspec.Struct, frozen=True):
    """One such ConfigMap."""

    base_model: str
    adapters: tuple[str, ...]
    source: str
    """Where it was written, for error messages."""


def is_adapter_map(document: Document) -> bool:
    """Return whether *document* is a ConfigMap with one of the labels."""
    metadata = document.body.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return (
        document.kind == "ConfigMap"
        and isinstance(labels, dict)
        and any(str(labels.get(name)).lower() == "true" for name in MANAGED)
    )


def adapter_maps(documents: Iterable[Document]) -> tuple[AdapterMap, ...]:
    """Return what those of *documents* say that are adapter maps.

    Raises:
        ConfigError: one has no `baseModel`, another key, something else than a list of names under `adapters`, or a
            name that another one gives to another base model.
    """
    maps = tuple(_adapter_map(document) for document in documents if is_adapter_map(document))
    _check_unique(maps)
    return maps


def _adapter_map(document: Document) -> AdapterMap:
    data = document.body.get("data")
    where = f"{document.source} $.data"
    if not isinstance(data, dict):
        raise ConfigError(where, f"a mapping with `{_BASE}` and `{_ADAPTERS}` is expected")
    for key in data:
        if key not in {_BASE, _ADAPTERS}:
            raise ConfigError(where, f"there is no key `{key}`", nearest(str(key), (_BASE, _ADAPTERS)))
    base = data.get(_BASE)
    if not isinstance(base, str) or not base.strip():
        raise ConfigError(f"{where}.{_BASE}", "the name of the base model is missing")
    return AdapterMap(base.strip(), _names(data.get(_ADAPTERS), f"{where}.{_ADAPTERS}"), document.source)


def _names(text: object, where: str) -> tuple[str, ...]:
    """Return the names in *text*: a YAML list inside a string, as values of ConfigMaps are strings."""
    try:
        listed = yaml.safe_load(text) if isinstance(text, str) else text
    except yaml.YAMLError:
        listed = text
    if listed is None:
        return ()
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ConfigError(where, "a YAML list of names is expected", 'such as "- my-adapter"')
    return tuple(stripped for name in listed if (stripped := name.strip()))


def _check_unique(maps: Sequence[AdapterMap]) -> None:
    """Raise `ConfigError` for an adapter with two base models, or one that is a base model itself."""
    owners = {each.base_model: each for each in maps}
    bases = set(owners)
    for each in maps:
        for name in each.adapters:
            other = owners.setdefault(name, each)
            if other.base_model != each.base_model:
                what = "is a base model" if name in bases else f"belongs to {other.base_model}"
                raise ConfigError(
                    f"{each.source} $.data.{_ADAPTERS}",
                    f"`{name}` {what} already",
                    f"names are unique behind one address; the other one is {other.source}",
                )
