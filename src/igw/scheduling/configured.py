"""An `EndpointPickerConfig` -> a scheduler. Reading the file is `config`; what each plugin does is in its own file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from igw.config.decode import decode, nearest
from igw.config.documents import Document
from igw.errors import ConfigError
from igw.scheduling.api import Picker
from igw.scheduling.builtin import PICKERS, SCORERS
from igw.scheduling.pickers.max_score import MaxScorePicker
from igw.scheduling.profile import Weighted
from igw.scheduling.scheduler import Scheduler

_ACCEPTED = frozenset({"single-profile-handler"})
"""Plugins of upstream that have nothing to do here: there is one profile."""


class _Plugin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    name: str = ""
    parameters: dict[str, Any] = {}


class _Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    plugin_ref: str
    weight: float = 1.0


class _Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    plugins: list[_Reference] = []


class _PickerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    api_version: str
    kind: str
    metadata: dict[str, Any] = {}
    plugins: list[_Plugin] = []
    scheduling_profiles: list[_Profile] = []


def scheduler(document: Document) -> Scheduler:
    """Return the scheduler that *document* describes.

    Raises:
        ConfigError: an unknown field, plugin type or reference, a bad parameter, or more than one profile.
    """
    config = decode(document, _PickerConfig)
    instances = _instances(document, config.plugins)
    if len(config.scheduling_profiles) > 1:
        raise ConfigError(f"{document.source} $.schedulingProfiles", "several profiles are not supported yet")
    references = (
        config.scheduling_profiles[0].plugins
        if config.scheduling_profiles
        else [_Reference(name) for name in instances]
    )
    where = f"{document.source} $.schedulingProfiles[0].plugins"
    return _profile(where, references, instances)


def _instances(document: Document, plugins: Iterable[_Plugin]) -> dict[str, Any]:
    instances: dict[str, Any] = {}
    known = SCORERS | PICKERS
    for index, plugin in enumerate(plugins):
        where, name = f"{document.source} $.plugins[{index}]", plugin.name or plugin.type
        if name in instances:
            raise ConfigError(f"{where}.name", f"there are two plugins named `{name}`")
        if plugin.type in _ACCEPTED:
            instances[name] = None
            continue
        if plugin.type not in known:
            raise ConfigError(
                f"{where}.type", f"there is no plugin type `{plugin.type}`", nearest(plugin.type, known)
            )
        parameters = msgspec.structs.replace(document, source=f"{where}.parameters", body=plugin.parameters)
        instances[name] = decode(parameters, known[plugin.type])
    return instances


def _profile(where: str, references: Iterable[_Reference], instances: dict[str, Any]) -> Scheduler:
    scorers: list[Weighted] = []
    picker: Picker | None = None
    for index, reference in enumerate(references):
        name = reference.plugin_ref
        if name not in instances:
            raise ConfigError(
                f"{where}[{index}].pluginRef", f"there is no plugin `{name}`", nearest(name, instances)
            )
        plugin = instances[name]
        if hasattr(plugin, "score"):
            scorers.append(Weighted(name, plugin, reference.weight))
        elif hasattr(plugin, "pick"):
            if picker is not None:
                raise ConfigError(f"{where}[{index}]", "a profile has one picker, this is the second")
            picker = plugin
    if picker is None:
        # Upstream gives a profile without a picker one that is configured; file order decides which.
        picker = next((plugin for plugin in instances.values() if hasattr(plugin, "pick")), MaxScorePicker())
    return Scheduler.of(tuple(scorers), picker)
