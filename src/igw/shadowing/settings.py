"""Which shadows there are, and how many decisions they look at. Flags are the command line's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from igw.errors import ConfigError

FLAG = "--shadow-config-file"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class Shadow(msgspec.Struct, frozen=True):
    """One policy beside the active one."""

    name: str
    """As it is called in metrics and tables."""
    file: Path
    """Its `EndpointPickerConfig`; watched."""


class Settings(msgspec.Struct, frozen=True):
    """Without shadows nothing is spent on them."""

    shadows: tuple[Shadow, ...] = ()
    share: float = 0.1
    """Of decisions: how many they look at, at random. 0 to 1."""
    allow_experimental: bool = False
    """Whether they may use plugins that upstream calls Alpha."""


def shadows(written: Iterable[str]) -> tuple[Shadow, ...]:
    """Return the shadows that are *written* as `NAME=PATH` each.

    Raises:
        ConfigError: one that is not, or a name that is given twice.
    """
    found: dict[str, Shadow] = {}
    for each in written:
        name, _, path = each.partition("=")
        if not _NAME.fullmatch(name) or not path:
            raise ConfigError(
                FLAG,
                f"`{each}` is not NAME=PATH",
                "such as affinity=affinity.yaml; names are of letters, digits, - . _",
            )
        if name in found:
            raise ConfigError(
                FLAG, f"there are two shadows named `{name}`", f"the first is {found[name].file}"
            )
        found[name] = Shadow(name, Path(path))
    return tuple(found.values())
