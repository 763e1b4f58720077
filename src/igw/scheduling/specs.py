"""One plugin instance that a configuration wants: its name, type and parameters, not built yet. Which ones there are is `resolved`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from igw.config.decode import nearest
from igw.errors import ConfigError
from igw.scheduling import registry
from igw.scheduling.registry import Known


class Spec(msgspec.Struct, frozen=True):
    """One plugin instance that is wanted: by name, type and parameters, not built yet."""

    name: str
    kind: str
    """Its type, as the file calls it."""
    parameters: dict[str, Any]
    where: str
    """Its place in the file; for one that was added, what asked for it."""
    known: Known
    made_of: type[Any] | None = None
    """Its class; None if igw has none."""
    written: bool = True

    @property
    def later(self) -> bool:
        """Whether upstream has this and igw not yet."""
        known = self.known
        if self.made_of is None:
            return not (known.inert or known.elsewhere)
        return any(
            name in self.parameters and value in (None, self.parameters[name])
            for name, value in known.later_with.items()
        )

    @property
    def described(self) -> str:
        """The type, and the parameters that make it one that igw does not have yet."""
        beyond = [name for name in self.known.later_with if name in self.parameters]
        return f"`{self.kind}`" + (f" with {', '.join(beyond)}" if beyond else "")

    @property
    def roles(self) -> tuple[str, ...]:
        """What it can be used as."""
        if self.made_of is None:
            return self.known.roles
        others = (role for role in self.known.roles if role not in registry.ROLES.values())
        return (*registry.roles_of(self.made_of), *others)


def spec(name: str, kind: str, where: str, parameters: dict[str, Any] | None = None) -> Spec:
    """Return the instance *name* of type *kind*; `ConfigError` if there is no such type or parameter."""
    try:
        found = registry.class_of(kind)
    except (TypeError, ImportError, AttributeError) as error:
        raise ConfigError(f"{where}.type", f"the plugin `{kind}` cannot be loaded: {error}") from error
    if found is None and kind not in registry.UPSTREAM:
        raise ConfigError(
            f"{where}.type", f"there is no plugin type `{kind}`", nearest(kind, registry.types())
        )
    known = registry.known(kind, found)
    if found is None and known.parameters is not None:
        for parameter in parameters or ():
            if parameter not in known.parameters:
                hint = nearest(parameter, known.parameters) if known.parameters else "it has none"
                raise ConfigError(f"{where}.parameters", f"there is no field `{parameter}`", hint)
    return Spec(name, kind, parameters or {}, where, known, found)


def added(specs: dict[str, Spec], name: str, why: str) -> Spec:
    """Return the instance *name*, added under the name of its type if it is not there; *why* tells what asked for it."""
    if name not in specs:
        specs[name] = msgspec.structs.replace(spec(name, name, why), written=False)
    return specs[name]


def instance(name: str, specs: Mapping[str, Spec], where: str) -> Spec:
    """Return the instance that *where* refers to by *name*; `ConfigError` if there is none."""
    if name not in specs:
        raise ConfigError(where, f"there is no plugin `{name}`", nearest(name, specs))
    return specs[name]


def check_role(found: Spec, role: str, called: str, where: str) -> None:
    """Raise `ConfigError` if *found* cannot be used as *role*, which messages call *called*."""
    if role not in found.roles:
        raise ConfigError(where, f"`{found.name}` (type {found.kind}) is no {called}")
