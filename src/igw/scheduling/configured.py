"""An `EndpointPickerConfig` -> a scheduler. Reading the file is `config`, defaults are `resolved`; what each plugin does is in its own file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from igw.config.decode import decode
from igw.config.documents import Document
from igw.errors import ConfigError
from igw.scheduling import instances
from igw.scheduling.instances import Instances
from igw.scheduling.profile import Filtering, Profile, Weighted
from igw.scheduling.resolved import Resolved, Use, resolve
from igw.scheduling.scheduler import Scheduler
from igw.scheduling.specs import Spec


def scheduler(
    document: Document, before: Instances | None = None, *, allow_experimental: bool = True
) -> Scheduler:
    """Return the scheduler that *document* describes.

    Plugins of *before* whose type, name and parameters are still the same go on with what they have learned.

    Raises:
        ConfigError: whatever upstream refuses to start with, and what igw cannot do yet.
    """
    return built(resolve(document, allow_experimental=allow_experimental), before)


def built(resolved: Resolved, before: Instances | None = None) -> Scheduler:
    """Return the scheduler of a resolved configuration.

    Raises:
        ConfigError: a wrong parameter, or a plugin that upstream has and igw not yet.
    """
    plugins = decoded(resolved.specs.values(), before)
    for spec in resolved.later:
        raise ConfigError(
            f"{spec.where}.type" if spec.written else spec.where,
            f"{spec.described} is known to upstream, not yet in igw",
            f"it comes with {spec.known.later}",
        )
    profiles = {name: _profile(uses, plugins) for name, uses in resolved.profiles.items()}
    return Scheduler(
        profiles,
        plugins[resolved.handler],
        tuple(plugin for plugin in plugins.values() if hasattr(plugin, "admit")),
        tuple(plugin for plugin in plugins.values() if hasattr(plugin, "deliver")),
        instances.of(plugins, resolved.levels),
    )


def decoded(specs: Iterable[Spec], before: Instances | None = None) -> dict[str, Any]:
    """Return the plugins of *specs* that igw has, by name, those of *before* that are the same among them.

    Raises:
        ConfigError: an unknown, missing or wrong parameter.
    """
    known: Mapping[str, Any] = before.by_name if before is not None else {}
    plugins: dict[str, Any] = {}
    for spec in specs:
        if spec.made_of is None or spec.later:
            continue
        place = f"{spec.where}.parameters" if spec.written else spec.where
        document = Document(place, "", spec.kind, spec.name, "", spec.parameters)
        plugin = decode(document, spec.made_of)
        # Two are equal when their parameters are: what a plugin has learned is no field.
        plugins[spec.name] = known[spec.name] if known.get(spec.name) == plugin else plugin
    return plugins


def _profile(uses: Iterable[Use], plugins: Mapping[str, Any]) -> Profile:
    filters: list[Filtering] = []
    scorers: list[Weighted] = []
    picker: Any = None
    for use in uses:
        plugin: Any = plugins.get(use.name)
        if hasattr(plugin, "keep"):
            filters.append(Filtering(use.name, plugin))
        if hasattr(plugin, "score"):
            scorers.append(Weighted(use.name, plugin, use.weight))
        if hasattr(plugin, "pick"):
            picker = plugin
    return Profile(tuple(scorers), picker, tuple(filters))
