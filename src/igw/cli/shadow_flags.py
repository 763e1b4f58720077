"""Flags on shadow policies: names and words. What they mean is `igw.shadowing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from igw.cli.groups import Group

if TYPE_CHECKING:  # so that `igw --help` needs none of it
    from igw.app.settings import PickerSettings

Files = Annotated[
    list[str] | None,
    typer.Option(
        help="An EndpointPickerConfig that decides too, and is compared, not followed. Watched. May be repeated.",
        metavar="NAME=PATH",
    ),
]
Share = Annotated[float, typer.Option(help="Of decisions: how many it looks at.", min=0, max=1)]


class Shadowed(Group, frozen=True):
    """Shadow policies."""

    shadow_config_file: Files = None
    shadow_share: Share = 0.1

    def beside(self, settings: PickerSettings) -> PickerSettings:
        """Return *settings* with the shadows.

        Raises:
            ConfigError: they are not written as they should be.
        """
        from igw.shadowing.settings import Settings, shadows

        found = Settings(
            shadows(self.shadow_config_file or ()), self.shadow_share, settings.allow_experimental
        )
        return msgspec.structs.replace(settings, shadows=found)
