"""An `EndpointPickerConfig` with everything that it leaves to defaults filled in, in file order, and checked but for parameters.

Building plugins and decoding their parameters is `configured`; which producers are added is `dependencies`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from igw.config import legacy, picker_config
from igw.config.documents import Document
from igw.config.legacy import Note
from igw.config.picker_config import PickerConfig
from igw.errors import ConfigError
from igw.flow.settings import GATE
from igw.scheduling import dependencies, wiring
from igw.scheduling.specs import Spec, added, instance, spec

PICKER, HANDLER = "max-score-picker", "single-profile-handler"
_SCHEDULED = frozenset({"filter", "scorer", "picker"})


class Use(msgspec.Struct, frozen=True):
    """An instance in a profile, with its weight if it is a scorer."""

    name: str
    weight: float = 1.0
    where: str = ""


class Resolved(msgspec.Struct, frozen=True):
    """A configuration with nothing left to guess."""

    source: str
    config: PickerConfig
    """As it was written, in today's form."""
    specs: Mapping[str, Spec]
    """Every instance by its name, in file order; those that were added come last."""
    profiles: Mapping[str, tuple[Use, ...]]
    handler: str
    detector: str
    parsers: tuple[str, ...]
    sources: Mapping[str, tuple[str, ...]]
    """Data source -> its extractors."""
    levels: tuple[tuple[str, ...], ...]
    """Producers in the order they run; those of one level run together."""
    waits: bool
    """Whether requests may have to wait for their place, by what `flowControl` says."""
    converted: tuple[Note, ...] = ()
    """What was written in the form of an older version."""

    @property
    def later(self) -> tuple[Spec, ...]:
        """The instances that upstream has and igw not yet."""
        return tuple(spec for spec in self.specs.values() if spec.later)


def resolve(document: Document, *, allow_experimental: bool = True) -> Resolved:
    """Return *document* with its defaults filled in.

    Raises:
        ConfigError: whatever upstream refuses to start with, as far as it can be seen without a cluster.
    """
    document, notes = legacy.today(document)
    config = picker_config.read(document)
    specs = _specs(document.source, config)
    wiring.check_deciders(specs)
    profiles = _profiles(document.source, config, specs)
    handler = _handler(document.source, specs, profiles)
    profiles = _with_pickers(profiles, specs)
    detector = wiring.detector(document.source, config, specs)
    parsers = wiring.parsers(document.source, config, specs)
    sources = wiring.sources(document.source, config, specs)
    waits = _waits(config, specs, profiles)
    wiring.flow(document.source, config, specs, waits=waits)
    levels = dependencies.order(specs)
    if not allow_experimental:
        _check_stability(specs.values())
    return Resolved(
        document.source, config, specs, profiles, handler, detector, parsers, sources, levels, waits, notes
    )


def _specs(source: str, config: PickerConfig) -> dict[str, Spec]:
    specs: dict[str, Spec] = {}
    for index, plugin in enumerate(config.plugins):
        where = f"{source} $.plugins[{index}]"
        if plugin.called in specs:
            raise ConfigError(f"{where}.name", f"there are two plugins named `{plugin.called}`")
        specs[plugin.called] = spec(plugin.called, plugin.type, where, plugin.parameters)
    return specs


def _profiles(source: str, config: PickerConfig, specs: Mapping[str, Spec]) -> dict[str, tuple[Use, ...]]:
    if not config.scheduling_profiles:
        names = [name for name, each in specs.items() if _SCHEDULED & set(each.roles)]
        uses = tuple(Use(name, 1.0, specs[name].where) for name in names)
        _check_pickers(uses, specs)
        return {"default": uses}
    profiles = {}
    for index, profile in enumerate(config.scheduling_profiles):
        uses = ()
        for number, reference in enumerate(profile.plugins):
            where = f"{source} $.schedulingProfiles[{index}].plugins[{number}]"
            instance(reference.plugin_ref, specs, f"{where}.pluginRef")
            weight = 1.0 if reference.weight is None else reference.weight
            uses = (*uses, Use(reference.plugin_ref, weight, where))
        _check_pickers(uses, specs)
        profiles[profile.name] = uses
    return profiles


def _check_pickers(uses: Iterable[Use], specs: Mapping[str, Spec]) -> None:
    pickers = [use for use in uses if "picker" in specs[use.name].roles]
    if len(pickers) > 1:
        raise ConfigError(
            pickers[1].where,
            "a profile has one picker, this is the second",
            f"the first is `{pickers[0].name}`",
        )


def _with_pickers(
    profiles: Mapping[str, tuple[Use, ...]], specs: dict[str, Spec]
) -> dict[str, tuple[Use, ...]]:
    """Give every profile without a picker the first one that is configured, else upstream's default one."""
    completed = {}
    for name, uses in profiles.items():
        if not any("picker" in specs[use.name].roles for use in uses):
            first = next((n for n, each in specs.items() if "picker" in each.roles), None)
            picker = first or added(specs, PICKER, "the default picker").name
            completed[name] = (*uses, Use(picker))
        else:
            completed[name] = uses
    return completed


def _waits(config: PickerConfig, specs: Mapping[str, Spec], profiles: Mapping[str, tuple[Use, ...]]) -> bool:
    """Return what the gate says, as upstream has it; where it is not written, whether a profile prices work."""
    if any(written.partition("=")[0] == GATE for written in config.feature_gates):
        return config.enabled(GATE)
    used = {use.name for uses in profiles.values() for use in uses}
    return any(getattr(specs[name].made_of, "needs_work", False) for name in used)


def _handler(source: str, specs: dict[str, Spec], profiles: Mapping[str, Any]) -> str:
    handlers = [each for each in specs.values() if "handler" in each.roles]
    if len(handlers) > 1:
        raise ConfigError(
            f"{handlers[1].where}.type",
            "there can be only one profile handler",
            f"the first is `{handlers[0].name}`",
        )
    if not handlers and len(profiles) > 1:
        raise ConfigError(
            f"{source} $.schedulingProfiles",
            f"there are {len(profiles)} scheduling profiles and no profile handler that chooses among them",
            "such as header-profile-handler",
        )
    if handlers and handlers[0].kind == HANDLER and len(profiles) > 1:
        raise ConfigError(
            f"{handlers[0].where}.type", f"`{HANDLER}` runs one scheduling profile, there are {len(profiles)}"
        )
    return (handlers[0] if handlers else added(specs, HANDLER, "the default profile handler")).name


def _check_stability(specs: Iterable[Spec]) -> None:
    for each in specs:
        if each.known.alpha and each.written:
            raise ConfigError(
                f"{each.where}.type",
                f"`{each.kind}` is experimental (Alpha)",
                "start with --allow-experimental-plugins",
            )
