"""Which plugins the body-based router has, and chains of them as a flag writes them: `type:name[:json]`.

Plugins of others come by the entry point group `igw.payload_plugins` (type = module:class).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import msgspec

from igw.config.decode import nearest
from igw.errors import ConfigError
from igw.payload.api import Plugin
from igw.payload.plugins.base_model_to_header import BaseModelToHeader
from igw.payload.plugins.body_field_to_header import BodyFieldToHeader

GROUP = "igw.payload_plugins"

TYPES: dict[str, type[Any]] = {
    "body-field-to-header": BodyFieldToHeader,
    "base-model-to-header": BaseModelToHeader,
}


class Named(msgspec.Struct, frozen=True):
    """A plugin of a chain, under the name that metrics have for it."""

    type: str
    name: str
    plugin: Plugin


DEFAULT = (
    Named("body-field-to-header", "model-to-header", BodyFieldToHeader("model", "X-Gateway-Model-Name")),
    Named("base-model-to-header", "base-model-to-header", BaseModelToHeader()),
)
"""The chain where none is written."""


def chain(written: Sequence[str]) -> tuple[Named, ...]:
    """Return the plugins of *written* (`type:name[:json]`) in their order; the default chain if there are none.

    Raises:
        ConfigError: another form, a type there is not, a name written twice, or parameters that the type does not take.
    """
    plugins = tuple(_named(text) for text in written)
    names = [each.name for each in plugins]
    for text, name in zip(written, names, strict=True):
        if names.count(name) > 1:
            raise ConfigError(f"--plugin {text}", f"the name `{name}` is written twice")
    return plugins or DEFAULT


def _named(text: str) -> Named:
    where = f"--plugin {text}"
    kind, _, rest = text.partition(":")
    name, _, parameters = rest.partition(":")
    if not kind or not name:
        raise ConfigError(where, "type and name are expected", "write type:name or type:name:{json}")
    made = TYPES.get(kind) or _of_others(kind)
    if made is None:
        others = [entry.name for entry in entry_points(group=GROUP)]
        raise ConfigError(where, f"there is no plugin type `{kind}`", nearest(kind, (*TYPES, *others)))
    try:
        return Named(kind, name, msgspec.json.decode(parameters or "{}", type=made))
    except msgspec.DecodeError as error:
        raise ConfigError(where, f"its parameters cannot be used: {error}") from error


def _of_others(kind: str) -> type[Any] | None:
    for entry in entry_points(group=GROUP, name=kind):
        loaded: Any = entry.load()
        if not (
            isinstance(loaded, type) and issubclass(loaded, msgspec.Struct) and hasattr(loaded, "process")
        ):
            raise TypeError(f"the entry point {entry.value} is not a msgspec.Struct with a method `process`")
        return loaded
    return None
